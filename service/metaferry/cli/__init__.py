"""The command line: flags in, one call of the library, a result on stdout and an exit code.

`main` is the program, `commands` has a module a command, `show` turns reports into text, `serve` is the
scheduled loop. rich and typer are imported here and nowhere else. No rule of the product lives here.
"""
