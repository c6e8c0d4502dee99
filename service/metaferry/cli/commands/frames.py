"""`metaferry frames`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from metaferry.cli.options import Format, LogFormat, Logs, Quiet, Verbose

if TYPE_CHECKING:
    from collections.abc import Generator

    from metaferry.media.frames.model import FrameCount, Level


def frames(
    urls: Annotated[
        list[str],
        typer.Argument(
            metavar="URL...", help="Videos, folders or globs, on any storage.", show_default=False
        ),
    ],
    deadline: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=1, help="Give up on a video after this time.", show_default=False
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="storage.SCHEME.OPTION=VALUE, as in a job file.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: Annotated[
        Format | None,
        typer.Option(
            "--format", help="table, or json: one line per video (default in a pipe).", show_default=False
        ),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            "--level",
            metavar="index|scan|decode",
            help="The most work to do per video; default: as much as a proof needs.",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show how each count was proved.")] = False,
    timestamps: Annotated[
        bool,
        typer.Option("--timestamps", help="Show the time of every frame, in seconds."),
    ] = False,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Counts the frames of videos, exactly or not at all."""
    from metaferry import count_frames
    from metaferry.cli.session import Session
    from metaferry.cli.show.frames import FRAME_TITLES, frame_details, frame_json, frame_line
    from metaferry.job.loader import storage_of

    session = Session(quiet=quiet, verbose=verbose, log_format=log_format)
    lines = format is Format.JSON or (format is None and not session.out.is_terminal)
    if not lines:
        session.show([FRAME_TITLES])
    unproved = 0
    with session.progress() as progress:
        progress.phase("Counting frames", None)
        counts = count_frames(
            urls,
            storage=storage_of(sets or ()),
            deadline=deadline,
            level=cast("Level | None", level),  # count_frames refuses any other value
            times=timestamps,
            progress=lambda count: progress.advance(1, count.bytes),
        )
        for found in counts:
            unproved += found.frames is None
            if lines:
                session.show_json(frame_json(found, explain=explain, times=timestamps), line=True)
            else:
                session.show([frame_line(found), *frame_details(found, explain=explain, times=timestamps)])
            if session.lost is not None:
                break
        cast("Generator[FrameCount, None, None]", counts).close()  # ends the frame workers too
    raise typer.Exit(session.exit_code(3 if unproved else 0, output_is_result=True))
