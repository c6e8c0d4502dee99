"""Queries to databases as tables: `sql: {uri, query}`.

`target` tells which driver a URI is for, `adbc`, `sqlite` and `mysql` run a query and stream its rows as
Arrow, `failures` translates what drivers say. Imported by the registry of readers. Nothing here writes to a
database: sessions are read-only wherever the database knows such sessions.
"""
