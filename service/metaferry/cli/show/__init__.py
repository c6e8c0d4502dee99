"""How results, progress, logs and errors look to people and to machines.

`render` has reports, `text` numbers, columns and unsafe names, `progress` bars and lines, `logs` the log
on stderr, `failures` errors and exit codes. Imported by `cli` only; never calls a storage.
"""
