"""Which images and videos there are, and how many frames a video has.

`listing` takes media from a listing of the datasource, `inventory` from an inventory report of the
store, `frames` counts frames. Imported by `planning`, `runs` and `api`. It reads through the storage
contract only and never uses tables, plans or documents.
"""
