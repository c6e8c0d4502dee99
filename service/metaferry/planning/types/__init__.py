"""Types of schema entries that a plan meets: text over numbers, types that stay, the price of widening.

Imported by the planner (and the price by the reports). Nothing here decides what an entry is: the rules are
those of `lightly/schema`.
"""
