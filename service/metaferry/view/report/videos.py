"""How the values of frames go along their videos: a few videos, each in at most 240 steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from metaferry.planning.database import Database
from metaferry.planning.sql.rules import quote_ident, quote_text
from metaferry.view.report.bins import NumberBins
from metaferry.view.report.profile import Dimension

MOST_VIDEOS: Final = 8
MOST_STEPS: Final = 240
#: The table of the documents of their frames.
_FRAMES: Final = "report_frames"
#: A byte of a series that stands for no value.
NO_VALUE: Final = 255


@dataclass(frozen=True, slots=True)
class VideoSeries:
    """One video: `frames` documents, the last frame, and its steps (a step is `per_step` frames)."""

    media: str
    frames: int
    last: int
    steps: int
    per_step: int


def videos_with_frames(database: Database, table: str) -> list[VideoSeries]:
    """The videos with the most frame documents, by name where they have as many."""
    found = database.rows(
        f"SELECT media, count(*) AS n, max(frame) FROM {quote_ident(table)} "
        f"WHERE kind = 'frame' AND frame IS NOT NULL GROUP BY media HAVING n > 1 "
        f"ORDER BY n DESC, media LIMIT {MOST_VIDEOS}"
    )
    series = []
    for media, frames, last in found:
        per_step = -(-(last + 1) // MOST_STEPS)
        series.append(VideoSeries(media, frames, last, last // per_step + 1, per_step))
    return series


def along(
    database: Database, table: str, videos: Sequence[VideoSeries], dimensions: Sequence[Dimension]
) -> bytes:
    """For each video and dimension, bytes by step.

    Numbers: the least, the mean and the largest, one after the other, on a scale from the column's least
    to its largest value, 0 to 254. Categories: the commonest code. 255: no value.
    """
    if not videos or not dimensions:
        return b""
    # Once through the whole table: there may be a hundred times as many documents as these videos have.
    named = ", ".join(quote_text(video.media) for video in videos)
    database.run(
        f"CREATE OR REPLACE TABLE {_FRAMES} AS SELECT * FROM {quote_ident(table)} "
        f"WHERE kind = 'frame' AND frame IS NOT NULL AND media IN ({named})"
    )
    out = bytearray()
    for video in videos:
        source = f"FROM {_FRAMES} WHERE media = {quote_text(video.media)}"
        step = f"frame // {video.per_step}"
        for dimension in dimensions:
            if isinstance(dimension.bins, NumberBins):
                low, high = dimension.figures.low or 0.0, dimension.figures.high or 0.0
                v = f"(({dimension.field.sql}) - {low!r}) / {(high - low) or 1.0!r} * 254"
                rows = database.rows(f"SELECT {step} AS s, min({v}), avg({v}), max({v}) {source} GROUP BY s")
                lines = [bytearray([NO_VALUE]) * video.steps for _ in range(3)]
                for at, *values in rows:
                    for line, value in zip(lines, values, strict=True):
                        if value is not None:
                            line[at] = max(0, min(254, round(value)))
                out += b"".join(lines)
            else:
                rows = database.rows(
                    f"SELECT s, c FROM (SELECT {step} AS s, {dimension.code_sql} AS c, count(*) AS n "
                    f"{source} GROUP BY s, c) "
                    f"QUALIFY row_number() OVER (PARTITION BY s ORDER BY n DESC, c) = 1"
                )
                line = bytearray([NO_VALUE]) * video.steps
                for at, code in rows:
                    line[at] = code
                out += line
    database.run(f"DROP TABLE {_FRAMES}")
    return bytes(out)
