"""Facts of many files: read once, kept for the next run, and read again where what was kept is lost."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from metaferry.errors import Denied, MetaferryError
from metaferry.media.facts import cache as caches
from metaferry.media.facts.cache import FactsCache
from metaferry.media.facts.gather import read_facts
from metaferry.media.facts.images.reader import IMAGES
from metaferry.media.facts.model import FactsKind, Found
from metaferry.media.frames.containers.reading import Asking
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.listing.checked_pages import listed
from metaferry.storage.protocol import Blob
from metaferry.storage.retry.storage import Retrying
from unit.media.facts.images.making import block, exif_segment, jpeg, text_entry

Seen = list[tuple[int, int]]


def batches_of(folder: Retrying, portal: Portal, size: int = 3) -> list[pa.RecordBatch]:
    """The images of a folder in the order of their paths."""
    entries = [one for one in portal.run(listed(folder, "")) if not one.path.startswith("state/")]
    rows = sorted((one.path, one.size, one.token) for one in entries)
    return [
        pa.RecordBatch.from_pydict(
            {
                name: [row[n] for row in rows[at : at + size]]
                for n, name in enumerate(("path", "size", "token"))
            }
        )
        for at in range(0, len(rows), size)
    ]


class World:
    """A folder with images and a state folder, and the runs over it."""

    def __init__(self, folder: Retrying, portal: Portal) -> None:
        self.folder = folder
        self.portal = portal
        self.runs = 0

    def put(self, name: str, data: bytes) -> None:
        self.portal.run(self.folder.put(name, data))

    def state(self) -> list[str]:
        return sorted(one.path for one in self.portal.run(listed(self.folder, "state/")))

    def run(
        self,
        *,
        kind: FactsKind = IMAGES,
        only: Iterable[pa.RecordBatch] | None = None,
        whole: bool = True,
        keeps: bool = True,
    ) -> tuple[dict[str, dict[str, Any]], int]:
        """The rows by path, and how many files were read."""
        self.runs += 1
        batches = batches_of(self.folder, self.portal) if only is None else only
        seen: Seen = []
        cache = (
            FactsCache(self.folder, self.portal, "state/", kind, f"run-{self.runs:03d}", whole=whole)
            if keeps
            else None
        )
        found: dict[str, dict[str, Any]] = {}
        for table in read_facts(
            self.folder,
            self.portal,
            kind,
            batches,
            cache=cache,
            progress=lambda count, size: seen.append((count, size)),
        ):
            found |= {row["path"]: row for row in table.to_pylist()}
        return found, sum(size for _, size in seen)


@pytest.fixture
def world(folder: Retrying, portal: Portal) -> World:
    return World(folder, portal)


def image(make: str) -> bytes:
    return jpeg(exif_segment(block({0x010F: text_entry(make)})))


def test_a_second_run_reads_no_image_again(world: World) -> None:
    for n in range(10):
        world.put(f"{n}.jpg", image(f"maker {n}"))
    first, received = world.run()
    assert [row["make"] for _, row in sorted(first.items())] == [f"maker {n}" for n in range(10)]
    assert received == 10 * len(image("maker 0"))
    again, received = world.run()
    assert received == 0
    assert again == first


def test_only_what_changed_is_read_again(world: World) -> None:
    for n in range(10):
        world.put(f"{n}.jpg", image("old"))
    world.run()
    world.put("3.jpg", image("new one"))
    world.put("45.jpg", image("added"))
    found, received = world.run()
    assert received == len(image("new one")) + len(image("added"))
    assert {path: row["make"] for path, row in found.items() if row["make"] != "old"} == {
        "3.jpg": "new one",
        "45.jpg": "added",
    }
    assert world.run() == (found, 0)


def test_broken_files_are_named_and_the_others_go_on(world: World) -> None:
    world.put("a.jpg", image("good"))
    world.put("b.jpg", b"no image")
    world.put("c.jpg", b"")
    world.put("d.jpg", image("cut")[:-12])
    found, _ = world.run()
    assert {path: row["reason"] for path, row in found.items()} == {
        "a.jpg": None,
        "b.jpg": "it is no image of a format that is known here",
        "c.jpg": "it is empty",
        "d.jpg": None,
    }
    assert found["d.jpg"]["problem"] == "the file ends before its structure does"
    assert world.run() == (found, 0)  # they would come out the same again


def test_a_file_that_went_or_changed_since_the_listing(world: World) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        world.put(name, image("old"))
    batches = batches_of(world.folder, world.portal)
    world.portal.run(world.folder.delete("a.jpg"))
    world.put("b.jpg", image("a newer one"))
    found, _ = world.run(only=batches)
    assert [(found[name]["make"], found[name]["reason"]) for name in ("a.jpg", "b.jpg", "c.jpg")] == [
        (None, "it is gone"),
        ("a newer one", None),
        ("old", None),
    ]
    again, received = world.run()
    assert received == 0  # what was kept is of the version that was read
    assert again["b.jpg"]["make"] == "a newer one"


def test_a_run_that_is_cut_off_leaves_what_it_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "PIECE_ROWS", 6)
    for n in range(60):
        world.put(f"{n:02d}.jpg", image(f"maker {n}"))
    cache = FactsCache(world.folder, world.portal, "state/", IMAGES, "run-000", whole=True)
    monkeypatch.setattr(cache, "save", lambda save=cache.save: save() if cache._rows >= 6 else None)
    reading = read_facts(
        world.folder,
        world.portal,
        IMAGES,
        batches_of(world.folder, world.portal),
        cache=cache,
        progress=lambda count, size: None,
    )
    for _ in range(9):
        next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert len(world.state()) >= 3
    found, received = world.run()
    assert len(found) == 60
    assert received <= 42 * len(image("maker 10"))
    assert world.run()[1] == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-20] + bytes(20),
        lambda data: bytes(len(data)),
        lambda data: data[:100] + bytes(80) + data[180:],
    ],
)
def test_damaged_facts_are_read_again(world: World, damage: Any, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(10):
        world.put(f"{n}.jpg", image(f"maker {n}"))
    first, _ = world.run()
    (key,) = world.state()
    data = world.portal.run(world.folder.read(key)).data
    world.put(key, damage(data))
    with caplog.at_level(logging.WARNING):
        assert world.run()[0] == first
    assert key in caplog.text
    assert world.run() == (first, 0)


def test_facts_of_another_method_are_not_used(world: World) -> None:
    world.put("a.jpg", image("old"))
    world.run()
    newer = FactsKind("image", IMAGES.method + 1, IMAGES.facts, IMAGES.read)
    assert world.run(kind=newer)[1] > 0
    assert world.run(kind=newer)[1] == 0


def test_many_runs_leave_few_pieces(world: World) -> None:
    for n in range(30):
        world.put(f"{n:02d}.jpg", image("old"))
    world.run()
    for n in range(20):
        world.put(f"{n:02d}.jpg", image(f"newer {n}"))
        found, received = world.run()
        assert received == len(image(f"newer {n}"))
        assert len(world.state()) <= caches.MOST_CHAINS + 1
    assert world.run() == (found, 0)


def test_runs_with_a_prefix_forget_nothing(world: World) -> None:
    for n in range(12):
        world.put(f"{n:02d}.jpg", image("old"))
    world.run()
    for n in range(10):
        world.put("05.jpg", image(f"newer {n}"))
        some = [batches_of(world.folder, world.portal)[1]]
        assert world.run(only=some, whole=False)[1] == len(image(f"newer {n}"))
    assert world.run()[1] == 0


def test_without_a_cache_nothing_is_written(world: World) -> None:
    world.put("a.jpg", image("old"))
    assert world.run(keeps=False)[1] > 0
    assert world.state() == []


def test_batches_in_another_order_are_read_right(world: World) -> None:
    for n in range(12):
        world.put(f"{n:02d}.jpg", image(f"maker {n}"))
    first, _ = world.run()
    backwards = batches_of(world.folder, world.portal)[::-1]
    assert world.run(only=backwards, whole=False)[0].keys() == first.keys()


def test_what_concerns_every_file_ends_the_reading(
    world: World, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(40):
        world.put(f"{n:02d}.jpg", image("old"))
    plain = world.folder.read

    async def denied(path: str, *args: Any, **more: Any) -> Blob:
        if path == "20.jpg":
            raise Denied("no right to read", path=path)
        return await plain(path, *args, **more)

    monkeypatch.setattr(world.folder, "read", denied)
    with pytest.raises(Denied):
        world.run()


def test_who_no_longer_wants_answers_ends_the_reading(world: World) -> None:
    for n in range(40):
        world.put(f"{n:02d}.jpg", image("old"))

    def stop(count: int, size: int) -> None:
        if count:
            raise MetaferryError("stopped")

    reading = read_facts(
        world.folder,
        world.portal,
        IMAGES,
        batches_of(world.folder, world.portal),
        cache=None,
        progress=stop,
    )
    with pytest.raises(MetaferryError, match="stopped"):
        list(reading)


def test_a_reader_that_fails_is_a_reason(world: World) -> None:
    def broken(size: int) -> Asking[Found]:
        yield [(0, size)]
        raise IndexError("beyond")

    world.put("a.jpg", image("old"))
    found, _ = world.run(kind=FactsKind("image", 1, IMAGES.facts, broken))
    assert found["a.jpg"]["reason"] == "its structure is damaged (IndexError)"


def test_a_cache_that_cannot_be_written_is_none(
    world: World, tmp_path: Path, portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    if os.geteuid() == 0:
        (tmp_path / "state").write_bytes(b"a file, and no folder")
    world.put("a.jpg", image("old"))
    storage = open_storage(str(tmp_path), retry_for=0)
    try:
        cache = FactsCache(storage, portal, "state/", IMAGES, "run", whole=True)
        with caplog.at_level(logging.WARNING):
            (table,) = read_facts(
                world.folder,
                portal,
                IMAGES,
                batches_of(world.folder, portal)[:1],
                cache=cache,
                progress=lambda count, size: None,
            )
    finally:
        portal.run(storage.close())
    assert pc.max(table.column("width")).as_py() == 40
    assert "no more facts are kept" in caplog.text
