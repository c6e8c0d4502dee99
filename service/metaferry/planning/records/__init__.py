"""Records of rows: which media a base name means, and which of several rows for one document is used.

`media_names` is for names that are no paths; `duplicates` tells rows that contradict each other from those
that say the same. Imported by `planning` only; nothing here reads a store.
"""
