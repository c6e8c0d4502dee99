"""Apply: the rows of a plan become puts and deletes, each with its outcome.

`apply` runs the phases, `threads` writes from a pool of threads, `step` is one row and what a conflict
means, `outcome` counts, `shards` streams the plan's files. It decides nothing that the plan does not say.
"""
