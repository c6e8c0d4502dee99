"""Which images and videos there are, and how many frames a video has.

`listing` takes media from a listing of the datasource, `inventory` from an inventory report of the
store, `frames` counts frames. Reads through the storage contract only; it knows nothing of tables,
plans or documents.
"""
