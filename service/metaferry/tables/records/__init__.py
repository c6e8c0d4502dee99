"""Columns of a source's table of records: what `frame` gives, and the leaves of nested values.

Imported by `mapping`, which puts them into one statement. Pure but for the types that the engine tells of
expressions; nothing here reads a row.
"""
