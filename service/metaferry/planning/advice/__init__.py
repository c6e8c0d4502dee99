"""Why names of a table match no media, for messages.

`hints` explains single names (letter case, Unicode form, a prefix too many, the nearest names), `spelling`
what most names of a source have in common. Imported by `planning` only. Nothing is matched by it.
"""
