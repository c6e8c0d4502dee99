"""Inventory reports of S3, GCS and Azure in place of a listing of media.

`report` finds one, `manifest` parses its manifest, `data_files` reads its files, `columns` is what their
columns mean, `rows` gives the objects of a bucket as pages. Imported by `runs`. It never lists the bucket
itself: a report may add media, and no document is deleted for want of them.
"""
