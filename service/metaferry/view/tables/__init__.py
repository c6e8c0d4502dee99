"""What the tables of a job hold, or what a file is: relations, columns, types, first rows, a query.

Inside: `describe` looks, `model` has what it finds. `api_view` imports it, and the command `tables`. It lists
no media, and writes nothing.
"""
