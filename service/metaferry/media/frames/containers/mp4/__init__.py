"""The index of an MP4, MOV or M4V.

`index` is the whole count; `boxes`, `tracks`, `tables`, `fragments` and `hints` read the parts; `edits`
applies edit lists and gives presentation times; `numbers` unpacks tables. Imported by `media.frames`
only. Pure: it requests ranges, within a budget.
"""
