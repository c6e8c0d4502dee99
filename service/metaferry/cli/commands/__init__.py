"""One module a command: its flags, its help text, and the one call of the library that it makes.

`main` registers them; nobody else imports them. What they share is in `cli/options.py` (flags) and
`cli/session.py` (output, signals, exit code). A command imports what it needs when it runs, so that a
help text stays fast. No rule of the product is decided here.
"""
