"""Which images and videos there are, and how many frames a video has.

`listing` takes media from a listing of the datasource, `inventory` from an inventory report of the
store, `facts` reads what headers tell, `frames` counts frames. Imported by `planning`, `tables`, `runs` and
`api`. It reads through the storage contract only and never uses tables, plans or documents.
"""
