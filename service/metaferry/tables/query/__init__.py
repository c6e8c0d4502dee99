"""Queries: one SELECT over the job's tables as a source.

`tree` parses and writes SQL, `seal` says what a query may hold, `repeatable` makes its result the same on
every run, `plan` is all of it, and `load` runs it. `tables.load` and `runs.gather` import this package. It
reads no file: the tables are staged before.
"""
