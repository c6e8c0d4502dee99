"""What the commands of `view/` found, as text: `check`, `doctor` and `export`.

Imported by the command of the same name alone. Pure: takes a result and gives lines; prints nothing, never
reads a store. Words of a terminal, sizes and counts are those of `cli/show/text.py`.
"""
