"""`metaferry rollback`: brings the documents back that a run replaced, deleted or created.

`decide` compares the run's backup with what is in place, `schema` says what becomes of schema.json, `run`
does it, `report` is the account. Imported by `api`. It touches no document that is not what the run left.
"""
