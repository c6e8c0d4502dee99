"""The keys of a job that name what a reader reads, in place of a table.

Inside: `keys` has the keys, which `sources` and `tables` take in; each other module is the model under one of
them. `tables/readers/` imports them. They read nothing.
"""
