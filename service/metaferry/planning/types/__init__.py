"""Types of schema entries that a plan meets: text over numbers, and types that stay.

Imported by the planner. Nothing here decides what an entry is: the rules are
those of `lightly/schema`.
"""
