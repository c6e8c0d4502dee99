"""A datasource in a local folder.

`adapter` implements the contract; `atomic` has the pieces of a write that nobody sees half of:
temporary names, fsync, the folder's lock. Imported by `storage.factory` only. It never follows a
symbolic link out of the datasource when it writes.
"""
