"""Decide: records, media and documents become a plan, its findings and its rejects.

`build` runs the steps (`match`, `entries`, `values`, `merge`, `diff`), each a module; `actions` is the
truth table; `formats` has every format that is written; `database` the sealed engine; `sql` the format's
rules as SQL. It reads and writes nothing but the engine's tables.
"""
