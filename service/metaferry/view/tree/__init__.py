"""A datasource as it is in place: what a user names is opened, listed and read.

`target` tells a job from a URL, `names` says what each listed document is of, `document` judges the bytes of
one (pure), `reading` opens a whole tree and reads its documents in slices, `frames` counts its videos.
Imported by the other packages of `view`; it knows nothing of tables, reports or findings, and writes nothing
but the cache of frame counts, where it is told to.
"""
