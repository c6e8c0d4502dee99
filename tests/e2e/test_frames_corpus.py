"""Frame counts of a hundred files found in the wild, against counts that were taken by hand.

The files are not part of the project: `METAFERRY_VIDEOS` names their folder (default:
`../shared/videos` beside the repository), with a `truth.csv`. Nothing of them is copied.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from metaferry.media.frames.containers.reading import SMALL
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import DAMAGED, NO_COUNT, NO_TIMES, SEVERAL, FrameCount, Level
from metaferry.media.frames.worker.decode import FORMATS
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal

FOLDER = Path(os.environ.get("METAFERRY_VIDEOS", Path(__file__).parents[3] / "shared/videos"))

pytestmark = pytest.mark.skipif(
    not (FOLDER / "truth.csv").is_file(),
    reason="no folder of videos: set METAFERRY_VIDEOS to one with a truth.csv",
)


@pytest.fixture(scope="module")
def truth() -> dict[str, dict[str, str]]:
    with (FOLDER / "truth.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def counts(truth: dict[str, dict[str, str]]) -> dict[str, FrameCount]:
    return counted(truth, None)


def counted(
    truth: dict[str, dict[str, str]], level: Level | None, *, times: bool = False
) -> dict[str, FrameCount]:
    with Portal() as portal:
        storage = open_storage(str(FOLDER))
        videos = [(name, (FOLDER / name).stat().st_size, "") for name in truth]
        found = {
            c.path: c for c in count_frames(storage, portal, videos, workers=2, level=level, times=times)
        }
        portal.run(storage.close())
    return found


def test_every_file_is_answered_and_none_crashes_the_decoder(
    counts: dict[str, FrameCount], truth: dict[str, dict[str, str]]
) -> None:
    assert counts.keys() == truth.keys()
    odd = {
        c.path: c.reason for c in counts.values() if c.reason.startswith(("crashed", "deadline", "storage"))
    }
    assert odd == {}


def test_every_count_that_is_given_is_true(
    counts: dict[str, FrameCount], truth: dict[str, dict[str, str]]
) -> None:
    wrong = {
        path: (count.frames, truth[path]["decoded_frames"])
        for path, count in counts.items()
        if count.frames is not None and str(count.frames) != truth[path]["decoded_frames"]
    }
    assert wrong == {}


def test_every_clean_video_is_given_a_count(
    counts: dict[str, FrameCount], truth: dict[str, dict[str, str]]
) -> None:
    """Only what is broken, holds no video or is no format of the consumer's may stay without."""
    clean = {
        name
        for name, row in truth.items()
        if int(row["decoded_frames"] or 0) > 0
        and "strict decode raises" not in row["notes"]
        and row["container"] != "jpeg_pipe"
    }
    assert len(clean) >= 38
    assert {name for name in clean if counts[name].frames is None} == set()


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        # Also said of files that are cut inside their moov box, by the reader that made the note.
        ("no video stream", ("no video stream", "unreadable: a box at byte ")),
        ("strict decode raises", "decode errors: "),
        ("open: ", "unreadable: "),
    ],
)
def test_what_is_known_of_a_broken_file_is_the_reason(
    counts: dict[str, FrameCount], truth: dict[str, dict[str, str]], note: str, reason: str | tuple[str, ...]
) -> None:
    noted = [name for name, row in truth.items() if row["notes"].startswith(note)]
    assert noted
    assert {name: counts[name].reason for name in noted if not counts[name].reason.startswith(reason)} == {}
    if reason == "decode errors: ":
        assert all(DAMAGED in counts[name].flags for name in noted)


def test_two_video_streams_are_flagged(
    counts: dict[str, FrameCount], truth: dict[str, dict[str, str]]
) -> None:
    two = {name for name, row in truth.items() if row["notes"] == "2 video streams"}
    assert two
    assert {name for name, count in counts.items() if SEVERAL in count.flags} == two


def test_few_requests_and_few_bytes(counts: dict[str, FrameCount]) -> None:
    indexed = [count for count in counts.values() if count.basis == "index"]
    assert len(indexed) >= 25
    assert max(count.requests for count in indexed) <= 3
    # A small file, or one of fragments without hints, is read whole: one request costs less than three.
    large = [
        count
        for count in indexed
        if (FOLDER / count.path).stat().st_size > SMALL and "fragments" not in count.explain[-1]
    ]
    assert large
    assert sum(count.bytes for count in large) < 0.2 * sum((FOLDER / c.path).stat().st_size for c in large)


def test_most_clean_videos_are_proved_by_their_index(truth: dict[str, dict[str, str]]) -> None:
    """19 of 20 clean MP4, MOV and AVI; of the others none may be wrong either."""
    clean = {
        name
        for name, row in truth.items()
        if row["container"][:3] in ("mov", "avi")
        and int(row["decoded_frames"] or 0) > 0
        and row["decoded_frames"] == row["packets"]
        and "strict decode raises" not in row["notes"]
    }
    found = counted(truth, "index")
    assert {n: c.frames for n, c in found.items() if c.frames is not None} == {
        n: int(truth[n]["decoded_frames"]) for n, c in found.items() if c.frames is not None
    }
    encrypted = {name for name in clean if found[name].reason == "not proved: encrypted"}
    proved = {name for name in clean - encrypted if found[name].frames is not None}
    assert len(proved) >= 0.95 * len(clean - encrypted)
    assert len(clean) >= 20


def test_a_scan_is_never_wrong_either(truth: dict[str, dict[str, str]]) -> None:
    found = counted(truth, "scan")
    assert {c.basis for c in found.values()} == {"", "index", "scan"}
    assert {n: c.frames for n, c in found.items() if c.frames is not None} == {
        n: int(truth[n]["decoded_frames"]) for n, c in found.items() if c.frames is not None
    }


@pytest.mark.slow
def test_times_are_those_of_the_decoder(truth: dict[str, dict[str, str]]) -> None:
    """Every file that decodes and is given a count: each frame's `pts * time_base`, or why there is none."""
    names = [name for name, row in truth.items() if int(row["decoded_frames"] or 0) > 0]
    found = {c.path: c for c in counted({name: truth[name] for name in names}, None, times=True).values()}
    compared = 0
    for name in names:
        count = found[name]
        if count.frames is None:
            assert count.untimed == NO_COUNT
            continue
        with av.open(str(FOLDER / name), options={"format_whitelist": FORMATS}) as container:
            stream = next(s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
            stream.thread_type = "AUTO"
            shown = [None if f.pts is None else f.pts * f.time_base for f in container.decode(stream)]
        if None in shown:
            assert (name, count.times, count.untimed) == (name, None, NO_TIMES)
            continue
        assert count.times is not None, (name, count.untimed)
        assert list(count.times) == sorted(time for time in shown if time is not None), name
        compared += 1
    assert compared >= 40
