"""`python -m metaferry` is the command line."""

from metaferry.cli.main import main

if __name__ == "__main__":
    main()
