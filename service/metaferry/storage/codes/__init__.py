"""What the error codes of each store mean, as tables.

One module a store (`s3`, `gcs`, `azure`); `meaning` has the words that they share. Pure data, read by
`storage.errors`; imported by nothing above it. Nothing here looks at the text of an error besides what
a table names.
"""
