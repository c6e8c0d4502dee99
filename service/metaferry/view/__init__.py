"""What there is, for people to look at: `schema/` has the entries of schema.json.

`tree/` opens and reads what is in place, and the others look at it: `check/` names what is wrong, `export/`
has it as one table, `report/` makes a page of that, `selection/` says what a selection config can have of it.
`doctor/` checks whether a job can run, `policy/` says which rights it needs. Imported by `api`; it reads
tables, documents and plans through `runs`, and never writes to a datasource.
"""
