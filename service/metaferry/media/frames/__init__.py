"""Exact frame counts of videos, or none.

`counting` counts many videos, `counter` one of them by the cheapest level that proves anything:
`containers` (index), then `worker` (packets, decoding). `cache` keeps the counts of earlier runs,
`ranges` reads one pinned version, `pictures` makes small pictures for people. A count that is not proved is
None, never a guess.
"""
