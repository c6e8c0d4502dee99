"""Media from an inventory report of the store in place of a listing.

`manifest` reads which data files a report has (S3, GCS, Azure), `rows` reads them as pages of objects.
Imported by `media` and `runs`. A report may add media; it never makes a run delete for want of them.
"""
