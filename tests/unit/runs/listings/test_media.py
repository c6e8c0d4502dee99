"""The media of a job for readers: listed once, when one asks, and their frames' times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest

from metaferry.job.model import Job
from metaferry.progress import Silent
from metaferry.runs.context import open_job
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.listings.media import JobMedia
from metaferry.runs.state.listing_checkpoint import ListingCheckpoint
from unit.media import synthetic

MEDIA = {"b.jpg": b"12", "a/clip.mp4": synthetic.video(3), "skipped.png": b"1", "notes.txt": b"1"}


class Calls:
    """What is called just before the listing."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> ListingCheckpoint | None:
        self.count += 1
        return None


@pytest.fixture
def before() -> Calls:
    return Calls()


@pytest.fixture
def media(tmp_path: Path, before: Calls) -> Iterator[JobMedia]:
    for name, data in MEDIA.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    job = Job.model_validate(
        {"input": str(tmp_path), "media": {"exclude": ["skipped.*"]}, "sources": [{"object": {}}]}
    )
    with open_job(job, RuntimeDeps()) as (storages, database):
        yield JobMedia(job, storages, database, Silent(), datetime.now(UTC), before=before)


def test_the_input_is_listed_once_and_when_a_reader_asks(media: JobMedia, before: Calls) -> None:
    assert before.count == 0
    first = [row for batch in media.batches() for row in batch.to_pylist()]
    assert [(row["path"], row["kind"]) for row in first] == [("a/clip.mp4", "video"), ("b.jpg", "image")]
    assert all(row["token"] for row in first)
    assert [row for batch in media.batches() for row in batch.to_pylist()] == first
    assert media.listed().media.images == 1
    assert before.count == 1


def test_a_reader_may_stop_after_the_first_batch_and_write_meanwhile(media: JobMedia) -> None:
    batches = media.batches()
    next(batches)
    media.listed()
    batches.close()  # type: ignore[attr-defined]  # a generator


def test_videos_have_the_times_of_their_frames(media: JobMedia) -> None:
    (count,) = media.frames(["a/clip.mp4", "b.jpg", "gone.mp4"])
    assert (count.path, count.frames) == ("a/clip.mp4", 3)
    assert count.times is not None
    steps = {later - earlier for earlier, later in zip(count.times, list(count.times)[1:], strict=False)}
    assert len(steps) == 1
    assert steps.pop() > Fraction(0)
