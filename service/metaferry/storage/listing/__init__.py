"""Listings: pages, cursors, and many parts of one listing at once.

`paging` has the cursors of stores without continuation tokens, `parallel` lists folders and ranges of
keys side by side, `key_split` guesses where to cut a range. Works on any adapter of the contract; it
never sorts and never holds more than a few pages.
"""
