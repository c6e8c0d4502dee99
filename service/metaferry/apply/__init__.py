"""Apply: the rows of a plan become puts and deletes, each with its outcome.

`apply` runs the phases, `threads` writes from a pool of threads, `step` is one row and its conflicts,
`outcome` counts, `refusals` and `outage` detect what stops a run, `shards` streams the plan's files.
Imported by `engines` and `runs`. It decides nothing: the plan does.
"""
