"""Backups: the old versions of what a run overwrites or deletes, kept in the state folder.

`keep` writes them before the first overwrite, `stored` finds and reads them, `expire` says which are too
old. Imported by whatever applies a plan, and by `runs/rollback`. It never writes a document, and never
deletes a backup by itself.
"""
