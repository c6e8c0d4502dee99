"""`metaferry init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metaferry.cli.options import Quiet


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder to write to.", show_default=False)
    ] = Path(),
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="URL",
            help="A table, annotations, or the folder of a Delta or Iceberg table: the job's source.",
            show_default=False,
        ),
    ] = "",
    quiet: Quiet = False,
) -> None:
    """Writes a commented job.yaml to start from."""
    from metaferry.cli.session import Session
    from metaferry.cli.starting import write_job

    path = write_job(folder, source)
    named = "media" if source else "media and tables"
    Session(quiet=quiet).say(f"wrote {path}: name your {named} in it, then `metaferry doctor {path}`")
