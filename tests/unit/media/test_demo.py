"""The demonstration dataset: real media, tables that speak of them, and nothing rewritten."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest

from metaferry.demo import DemoDataset, make_dataset
from metaferry.media.frames.counting import count_frames
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DemoDataset:
    return make_dataset(tmp_path_factory.mktemp("demo"))


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_it_is_small_and_complete(dataset: DemoDataset) -> None:
    files = digest(dataset.root)
    assert len(files) == dataset.written == len(dataset.images) + len(dataset.videos) + 3
    assert dataset.kept == 0
    assert sum((dataset.root / name).stat().st_size for name in files) < 1_000_000


def test_a_second_call_writes_nothing(dataset: DemoDataset) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.root.rglob("*")}
    again = make_dataset(dataset.root)
    assert (again.written, again.kept) == (0, dataset.written)
    assert {path: path.stat().st_mtime_ns for path in dataset.root.rglob("*")} == before


def test_it_is_the_same_on_every_run(dataset: DemoDataset, tmp_path: Path) -> None:
    make_dataset(tmp_path)
    assert digest(tmp_path) == digest(dataset.root)


def test_what_is_missing_or_changed_is_put_right(tmp_path: Path) -> None:
    first = make_dataset(tmp_path)
    good = digest(tmp_path)
    first.images_table.write_text("scribbled over")
    (first.media / first.images[0]).unlink()
    again = make_dataset(tmp_path)
    assert (again.written, again.kept) == (2, first.written - 2)
    assert digest(tmp_path) == good


def test_the_videos_have_the_frames_they_are_said_to_have(dataset: DemoDataset, portal: Portal) -> None:
    assert sorted(dataset.videos.values()) == [9, 10, 200, 1000]
    assert {name.rpartition(".")[2] for name in dataset.videos} == {"mp4", "webm"}
    storage = open_storage(str(dataset.media))
    videos = [(name, (dataset.media / name).stat().st_size, "") for name in dataset.videos]
    counts = {c.path: c.frames for c in count_frames(storage, portal, videos, workers=2)}
    portal.run(storage.close())
    assert counts == dict(dataset.videos)


def test_the_images_decode(dataset: DemoDataset) -> None:
    assert len({(dataset.media / name).read_bytes() for name in dataset.images}) == len(dataset.images)
    for name in dataset.images:
        with av.open(str(dataset.media / name)) as container:
            [picture] = container.decode(video=0)
            assert (picture.width, picture.height) == (64, 48)


def test_the_tables_speak_of_exactly_these_media(dataset: DemoDataset) -> None:
    with dataset.images_table.open(newline="") as file:
        images = list(csv.DictReader(file))
    assert [row["image_path"] for row in images] == list(dataset.images)
    assert None not in {value for row in images for value in row.values()}

    frames = pq.read_table(dataset.frames_table)
    assert frames.num_rows == dataset.frame_rows == sum(dataset.videos.values())
    spoken: dict[str, list[int]] = {}
    for video, index in zip(
        frames.column("video").to_pylist(), frames.column("frame_idx").to_pylist(), strict=True
    ):
        spoken.setdefault(video, []).append(index)
    assert spoken == {name: list(range(count)) for name, count in dataset.videos.items()}
    assert frames.column("speed_kmh").null_count == 0
    assert len(set(frames.column("braking").to_pylist())) == 2

    lines = [json.loads(line) for line in dataset.videos_table.read_text().splitlines()]
    assert [line["video"] for line in lines] == list(dataset.videos)
    assert all(isinstance(line["weather"]["temperature"], float) for line in lines)
