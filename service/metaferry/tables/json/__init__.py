"""JSON: from bytes to typed columns of the engine.

Inside: `lines` stages one object a line, `shapes` finds the structure over all of them.
`tables/load.py` imports it. It never holds a file in memory, and never takes a text for a date or a
number.
"""
