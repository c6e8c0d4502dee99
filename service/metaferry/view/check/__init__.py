"""What is in place, read as a consumer reads it, and what a sync would change.

`check` opens a job or a URL and looks; `sample` says which documents are read and what follows for the
others; `found` holds what was found. Imported by `api`. Nothing is written but the cache of frame counts,
where a job is checked.
"""
