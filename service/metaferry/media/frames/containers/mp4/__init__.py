"""The index of an MP4, MOV or M4V.

`index` says what is read and what it proves; `boxes`, `tracks`, `tables`, `fragments` and `hints` read
the parts; `edits` applies edit lists and gives presentation times; `numbers` unpacks tables. Pure: asks
for ranges, within a budget.
"""
