"""Readers: from files, folders, or the answer of a server to relations that queries read.

Inside: `contract` says what a reader is, and how to add one; `registry` finds it by key and name; `files`
opens what a location names; `stage` puts its batches into the planning engine; `source` makes records of a
job's short form; a folder a key of the job has one module a format. `tables/load_all.py` imports them. A
reader never raises for one bad row, holds a file in memory, opens a storage, or decides what a document says.
"""
