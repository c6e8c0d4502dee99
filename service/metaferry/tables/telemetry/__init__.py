"""Samples of sensors joined to the frames of videos by time: a source with `telemetry`.

Inside: `instants` has times as whole nanoseconds, `starts` when a video begins, `join` the join, `judge` what
is odd about it, `load` the order of the steps. `tables/load_all.py` imports it. It never reads the bytes of a
file: samples come from readers, tables and queries, videos through `media_access.py`.
"""
