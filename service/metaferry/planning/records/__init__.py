"""Records of rows that were matched: which of several rows for one document is used.

`duplicates` tells rows that contradict each other from rows that say the same. Imported by `planning`
only; it never looks at media or documents in place.
"""
