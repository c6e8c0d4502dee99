"""Delimited text: CSV and TSV, from bytes to typed columns of the engine.

Inside: `rows` parts a file into rows, `cell_table` stores their cells, `column_types` finds their types.
`tables/load.py` imports it. It never guesses a type from a sample, and never repairs a row: what is
no row is a reject with its line.
"""
