"""The Lightly metadata format as pure functions: names, schema entries, document bytes.

The reference for every rule of the format; docs/format.md says where each comes from. Nothing in
here does I/O, reads a clock or imports anything of metaferry but the errors.
"""
