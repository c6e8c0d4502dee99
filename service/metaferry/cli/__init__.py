"""The command line. rich and typer are used here and nowhere else."""
