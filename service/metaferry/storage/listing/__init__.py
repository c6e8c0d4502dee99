"""Listings: their pages and cursors, and the parallel listing.

`parallel` lists folders and ranges of keys in parallel with the tasks of `scan_pool`, which splits ranges
by `key_split`; `checked_pages` finds pages that contradict each other; `paging` has the cursors of stores
without continuation tokens. Imported by the adapters, the retry layer and whatever lists. It never sorts,
and `parallel` never holds more than a few pages.
"""
