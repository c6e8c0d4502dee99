"""Schema entries: `infer` proposes them, `check` finds their faults, `diff` says what a sync would change.

`profile` has the figures of a column, `alternatives` the other types that it could have. Imported by `api`;
nothing here writes to a datasource.
"""
