"""What to write in the job where rows of a table cannot be used, for messages.

`hints` explains single names (letter case, Unicode form, a prefix too many, the nearest names), `spelling`
what most names of a source have in common, `frames` and `queries` the lines for frames that are not there and
for rows that contradict each other. Imported by `planning` only. Nothing is matched by it.
"""
