"""One module a command: its flags, its help, and the one call of the library that it makes."""
