"""The videos that samples are joined to, for people: when each begins, how much of it has samples. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rich.text import Text

from metaferry.cli.show.text import columns, count, heading, safe, share

if TYPE_CHECKING:
    from metaferry.planning.formats import Report
    from metaferry.tables.telemetry.account import JoinedVideo

#: Videos of one source.
_VIDEOS: Final = 10
_HEADER: Final = [
    "video",
    "begins",
    "from",
    "samples",
    "first",
    "last",
    "overlap",
    "gaps",
    "frames",
    "with values",
]


def joined_lines(report: Report) -> Iterator[str | Text]:
    """A heading, and for each source of samples its first ten videos."""
    for source in report.joined:
        yield heading("Samples joined by time")
        yield (
            f"  {safe(source.name)}: {count(source.samples, 'sample')} on {count(source.videos, 'video')}, "
            f"{source.filled:,} of {count(source.frames, 'frame')} with values"
        )
        rows = [_HEADER, *(_row(video) for video in source.shown[:_VIDEOS])]
        yield from columns(rows, right=(3, 6, 7, 8, 9), indent=4)
        if source.videos > _VIDEOS:
            yield f"    … and {source.videos - _VIDEOS:,} more, which are in joined_videos.parquet"
        yield ""


def _row(video: JoinedVideo) -> list[str]:
    return [
        safe(video.video),
        video.start or "?",
        safe(video.start_from),
        f"{video.samples:,}",
        video.first_sample or "",
        video.last_sample or "",
        "" if video.overlap is None else share(video.overlap),
        f"{video.gaps:,}",
        f"{video.frames:,}",
        f"{video.filled:,}",
    ]
