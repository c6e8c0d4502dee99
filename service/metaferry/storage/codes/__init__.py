"""What the error codes of each store mean, as tables.

One module a store (`s3`, `gcs`, `azure`); `meaning` has the type of a row, and the codes that stores share
or adapters define. Imported by `storage.errors`, which classifies by them, and by the stores' packages for
the codes that they produce. Pure data: it never reads the text of an error.
"""
