"""What there is, for people to look at: `schema/` has the entries of schema.json.

`export/` has the tree as one table, `report/` makes a page of it, `selection/` says what a selection config
can have of it. To come: check. Imported by `api`; it reads tables, documents and plans through `runs`, and
never writes to a datasource.
"""
