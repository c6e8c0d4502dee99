"""JSON: from bytes to typed columns of the engine.

Inside: `lines` stages objects, one a line or as `records` cuts them out of an array or an object: as
columns by `typed` where they hold nothing new, else as text; `staged` makes one relation of both.
`shapes` finds the structure over all of them, `constants` takes NaN out.
`tables/load.py` imports it. It never holds a file in memory, and never takes a text for a date or a
number.
"""
