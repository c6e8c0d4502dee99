"""Media that were listed hours ago: from an inventory, or by a run that was cut off. Nothing is lost by it.

The media's bucket and the documents' are in memory; the reports are real files.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from metaferry.cli.show.render import run_lines
from metaferry.errors import Denied, JobError
from metaferry.job.model import Job
from metaferry.planning.formats import PlanReport, RunReport
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.run import plan, sync
from metaferry.runs.state import listing_checkpoint
from metaferry.storage.listing import parallel
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import Adapter, Capabilities, Page
from unit.media.inventories import Object, s3
from unit.media.synthetic import video

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)


class World:
    """A bucket with media, a table of one column, and a bucket for documents; `now` is turned by hand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bucket = f"fleet-{uuid.uuid4()}"
        self.media = MemoryAdapter(f"{self.bucket}/2026")
        self.documents = MemoryAdapter(f"{self.bucket}-lightly")
        self.now = NOW
        self.wrap: Callable[[Adapter], Adapter] = lambda adapter: adapter
        self.policy: dict[str, Any] = {"max_delete": "100%"}
        self.inventory: dict[str, Any] | None = None
        self.together = False
        self._reports = 0

    def table(self, rows: list[tuple[str, int | None]]) -> None:
        lines = ["file_name,frame,x", *(f"{name},{'' if f is None else f},1" for name, f in rows)]
        (self.root / "t.csv").write_text("\n".join(lines) + "\n")

    def report_now(self, **settings: Any) -> None:
        """An inventory of what is in the bucket at this moment."""
        objects = []
        for key, file in sorted(self.media._fs.store.items()):
            if key.startswith(self.media._base):
                objects.append(Object(key.removeprefix(f"/{self.bucket}/"), len(file.getvalue())))
        self._reports += 1
        manifest = s3(self.root / f"report-{self._reports}", objects, "Parquet")
        content = json.loads(manifest.read_text())
        content["sourceBucket"] = self.bucket
        manifest.write_text(json.dumps(content))
        manifest.with_suffix(".checksum").unlink()
        for file in manifest.parent.parent.glob("data/*"):
            _rename_bucket(file, self.bucket)
            for each in content["files"]:
                if each["key"].endswith(file.name):
                    each["size"] = file.stat().st_size
                    del each["MD5checksum"]
        manifest.write_text(json.dumps(content))
        self.inventory = {"url": str(manifest), **settings}

    def job(self) -> Job:
        return Job.from_mapping(
            {
                "input": f"memory://{self.bucket}/2026",
                **({} if self.together else {"lightly": f"memory://{self.bucket}-lightly"}),
                "media": {} if self.inventory is None else {"inventory": self.inventory},
                "sources": [{"table": str(self.root / "t.csv"), "frame": "frame"}],
                "policy": self.policy,
            }
        )

    def sync(self) -> RunReport:
        return sync(self.job(), deps=self._world())

    def plan(self, **given: Any) -> PlanReport:
        return plan(self.job(), deps=self._world(), **given)

    def _world(self) -> RuntimeDeps:
        return RuntimeDeps(now=lambda: self.now, wrap=self.wrap)

    def tree(self) -> list[str]:
        """The documents, without the root that they have in common and `schema.json`."""
        base = f"{(self.media if self.together else self.documents)._base}.lightly/metadata/"
        names = (key.removeprefix(base) for key in self.media._fs.store if key.startswith(base))
        return sorted(name for name in names if name != "schema.json")

    def kept(self) -> list[str]:
        base = (self.media if self.together else self.documents)._base
        return sorted(k for k in self.media._fs.store if k.startswith(base) and "/listing/" in k)


def _rename_bucket(file: Path, bucket: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    names = pa.array([bucket] * len(table))
    pq.write_table(table.set_column(table.schema.names.index("bucket"), "bucket", names), file)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for key in [key for key in made.media._fs.store if key.startswith(f"/{made.bucket}")]:
        del made.media._fs.store[key]


# -- inventories


def test_what_is_newer_than_the_inventory_is_neither_seen_nor_deleted(world: World) -> None:
    world.policy["delete"] = "orphans"
    for name in ("a.png", "b.png", "c.png"):
        world.media.put_blocking(name, b"1")
    world.report_now()
    world.media.put_blocking("new.png", b"1")
    world.table([("a.png", None), ("b.png", None), ("c.png", None), ("new.png", None)])
    inventory, world.inventory = world.inventory, None
    assert world.sync().documents.create == 4  # the bucket is listed: all four

    world.inventory = inventory
    world.table([("a.png", None), ("b.png", None), ("new.png", None)])
    asyncio.run(world.media.delete("b.png"))
    report = world.sync()
    # The record of c is gone, which does not need a listing; new.png may only be new.
    assert world.tree() == ["a.json", "b.json", "new.json"]
    assert (report.documents.delete, report.documents.skip, report.documents.keep) == (1, 1, 2)
    assert (report.sources[0].unmatched, report.findings["media.old_listing"]) == (1, 1)
    assert (report.listing.basis, report.listing.objects) == ("inventory", 3)
    (note,) = [f for f in report.finding_examples if f.code == "media.old_listing"]
    assert note.message.startswith("1 document without media in it is left in place: an inventory does not")

    world.inventory = None
    world.sync()
    assert world.tree() == ["a.json", "new.json"]


def test_media_and_documents_in_one_datasource(world: World) -> None:
    world.together = True
    world.media.put_blocking("a.png", b"1")
    world.report_now()
    world.table([("a.png", None)])
    assert world.sync().documents.create == 1
    again = world.sync()  # the documents are not in the report, and are known all the same
    assert (again.documents.keep, again.changes) == (1, 0)


def test_its_age_is_told(world: World) -> None:
    world.media.put_blocking("a.png", b"1")
    world.table([("a.png", None)])
    world.report_now()
    report = world.sync()
    assert (report.listing.as_of, report.listing.age) == ("2026-11-22T01:00:00+00:00", 29 * 3600)
    lines = [str(line) for line in run_lines(report)]
    told = "Listed   from the inventory of 2026-11-22T01:00:00+00:00, 29 h 00 min old: "
    assert [line for line in lines if line.startswith(told)] != []
    assert "media.old_listing" not in report.findings

    world.report_now(max_age=24)
    old = world.sync()
    (note,) = [f for f in old.finding_examples if f.code == "media.old_listing"]
    assert (note.severity, old.exit_code) == ("warning", 0)
    assert note.message.startswith("the inventory is 29 hours old, and media.inventory.max_age is 24")


def test_a_video_that_was_replaced_since_is_counted_as_it_is_now(world: World) -> None:
    world.media.put_blocking("v.mp4", video(9))
    world.table([("v.mp4", 3)])
    world.report_now()
    assert world.sync().documents.create == 1
    assert world.tree() == ["v-3-mp4.json"]  # and its count is in the cache
    world.media.put_blocking("v.mp4", video(12))
    report = world.sync()
    assert world.tree() == ["v-03-mp4.json"]
    assert (report.frames.counted, report.frames.cached, report.documents.delete) == (1, 0, 1)


def test_a_video_that_is_gone_since_gets_no_frames(world: World) -> None:
    world.policy["max_rejects"] = "100%"
    world.media.put_blocking("v.mp4", video(9))
    world.table([("v.mp4", 3)])
    world.report_now()
    asyncio.run(world.media.delete("v.mp4"))
    report = world.sync()
    assert (world.tree(), report.exit_code, report.frames.unproved) == ([], 3, 1)
    (note,) = [f for f in report.finding_examples if f.code == "media.unproved" and not f.source]
    assert note.message.endswith("gone: it was there when the media were listed")


def test_a_report_that_names_an_object_twice_is_refused(world: World) -> None:
    world.media.put_blocking("a.png", b"1")
    world.table([("a.png", None)])
    world.report_now()
    assert world.inventory is not None
    manifest = Path(world.inventory["url"])
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "files": content["files"] * 2}))
    with pytest.raises(JobError, match=r"names a\.png more than once"):
        world.sync()


# -- listings that were cut off


class Slow(MemoryAdapter):
    """Lists by a start key, ten at a time, and is refused after so many pages of media."""

    pages = 0
    refuse_after = 10**9

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(super().capabilities, start_key=True)

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        if not prefix.startswith("."):
            Slow.pages += 1
            if Slow.pages > Slow.refuse_after:
                raise Denied("the right to list was taken away")
        self._page_size = 10
        return await super().list_page(prefix, start_after=start_after, cursor=cursor)


@pytest.fixture(params=[False, True], ids=["two datasources", "one"])
def large(world: World, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    """3,000 images in 300 pages; pages are kept by the hundred objects."""
    world.together = request.param
    for n in range(3_000):
        world.media.put_blocking(f"{n:05d}.png", b"1")
    world.table([(f"{n:05d}.png", None) for n in range(3_000)])
    world.wrap = lambda adapter: (
        Slow(adapter._base, url=adapter.url) if isinstance(adapter, MemoryAdapter) else adapter
    )
    monkeypatch.setattr(listing_checkpoint, "EVERY", 100)
    monkeypatch.setattr(Slow, "pages", 0)
    monkeypatch.setattr(Slow, "refuse_after", 10**9)
    return world


def cut_off(world: World, run: Callable[[], Any] | None = None) -> None:
    Slow.pages, Slow.refuse_after = 0, 200
    with pytest.raises(Denied):
        (run or world.sync)()
    Slow.pages, Slow.refuse_after = 0, 10**9


def test_the_next_run_lists_the_rest(large: World) -> None:
    cut_off(large)
    assert len(large.kept()) > 10
    large.now += timedelta(hours=2)
    report = large.sync()
    assert (report.documents.create, report.media.images, report.sources[0].used) == (3_000, 3_000, 3_000)
    assert report.listing.resumed >= 1_500
    assert report.listing.age == 7_200
    assert Slow.pages < 200
    lines = [str(line) for line in run_lines(report)]
    assert f"Listed   {report.listing.resumed:,} objects by an interrupted run 2 h 00 min ago" in (
        "\n".join(lines)
    )
    assert large.kept() == []
    assert large.sync().listing.resumed == 0


def test_and_the_one_after_that_where_it_is_cut_off_again(large: World) -> None:
    cut_off(large)
    Slow.pages, Slow.refuse_after = 0, 40
    with pytest.raises(Denied):
        large.sync()
    Slow.refuse_after = 10**9
    report = large.sync()
    assert (report.documents.create, report.listing.resumed >= 1_600) == (3_000, True)
    assert large.kept() == []


def test_what_came_or_went_since_is_not_deleted_by_it(large: World) -> None:
    large.policy["delete"] = "orphans"
    large.sync()
    cut_off(large)
    asyncio.run(large.media.delete("00000.png"))
    large.media.put_blocking("000001.png", b"1")  # sorts into what was listed already
    large.table([(f"{n:05d}.png", None) for n in range(1, 3_000)] + [("000001.png", None)])
    report = large.sync()
    assert report.listing.resumed
    assert (report.sources[0].unmatched, report.documents.delete) == (1, 1)  # the record of 00000 is gone
    report = large.sync()
    assert (report.documents.create, report.documents.delete, report.sources[0].unmatched) == (1, 0, 0)


@pytest.mark.parametrize("change", ["too old", "damaged", "a piece is gone", "no JSON", "another prefix"])
def test_pages_that_do_not_serve_are_not_used(large: World, change: str) -> None:
    cut_off(large)
    progress = next(key for key in large.kept() if key.endswith("progress.json"))
    piece = next(key for key in large.kept() if key.endswith(".parquet"))
    store = large.media._fs.store
    prefix = ""
    if change == "too old":
        large.now += timedelta(hours=7)
    elif change == "a piece is gone":
        del store[piece]
    elif change == "another prefix":
        prefix = "0/"
    else:
        key = piece if change == "damaged" else progress
        MemoryAdapter("").put_blocking(key.lstrip("/"), b"not this")
    report = sync(large.job(), prefix=prefix, deps=large._world())
    assert report.listing.resumed == 0
    assert report.documents.create == (0 if prefix else 3_000)


def test_a_plan_keeps_pages_only_if_it_is_kept_itself(large: World, tmp_path: Path) -> None:
    cut_off(large, large.plan)
    assert large.kept() == []
    cut_off(large, lambda: large.plan(out=str(tmp_path / "plan")))
    assert len(large.kept()) > 10
    assert large.plan().listing.resumed == 0
    assert large.plan(out=str(tmp_path / "plan")).listing.resumed >= 1_500


def test_a_listing_that_is_not_large_writes_nothing(large: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_checkpoint, "EVERY", 3_001)
    monkeypatch.setattr(parallel, "_FIRST", 1)
    puts = large.sync().requests.put
    large.documents._fs.store.clear()
    for n in range(3_000):
        large.media.put_blocking(f"{n:05d}.png", b"1")
    monkeypatch.setattr(Slow, "capabilities", MemoryAdapter.capabilities)  # nothing could be kept at all
    assert (puts, large.kept()) == (large.sync().requests.put, [])
