"""What there is, for people to look at: `schema/` has the entries of schema.json.

To come: check, export, report. Imported by `api`; it reads tables, documents and plans through `runs`, and
never writes anything.
"""
