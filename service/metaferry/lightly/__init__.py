"""The Lightly metadata format as pure functions: names, schema entries, document bytes.

The reference for every rule of the format; docs/format.md names the source of each.
Nothing here does I/O or reads a clock, and only the errors of metaferry are imported.
"""
