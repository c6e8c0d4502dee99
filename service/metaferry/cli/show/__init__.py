"""How results, progress, logs and errors look to people and to machines.

`render` words reports, `text` numbers, columns and hostile names, `progress` bars and lines, `logs` the
log on stderr, `failures` errors and exit codes. It reads values and writes text; it calls no storage.
"""
