"""A small datasource in bad weather, and a plain-Python account of what a run must leave there.

Media, two tables, documents in place and a policy, in memory or in a local folder. `Site.wanted`
works the tree out a second time, without SQL; it shares nothing with the planner but the format
rules under `lightly/`. Time moves only when somebody sleeps, so no run waits.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from e2e.oracle import _below as below
from metaferry.errors import MetaferryError
from metaferry.job.model import Job
from metaferry.lightly.document import document
from metaferry.lightly.names import (
    DOCUMENTS,
    SCHEMA,
    Kind,
    digits,
    document_path,
    frame_document_path,
    frame_file_name,
    media_kind,
    parse_frame_document,
)
from metaferry.planning.formats import RunReport
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.run import sync
from metaferry.storage.testing.faulty import Call, Faults, Killed
from metaferry.storage.testing.rules import Rule
from unit.media import synthetic

STATE: Final = ".metaferry/"
_runs = itertools.count()


class Disk(Protocol):
    """Where the site lies; read and written past the storage that is under test."""

    root: str

    def put(self, key: str, data: bytes) -> None: ...
    def delete(self, key: str) -> None: ...
    def objects(self) -> dict[str, bytes]: ...


class MemoryDisk:
    def __init__(self) -> None:
        self._base = f"/{uuid.uuid4().hex}/"
        self._fs = MemoryFileSystem()
        self.root = f"memory:/{self._base}"

    def put(self, key: str, data: bytes) -> None:
        self._fs.store[self._base + key] = MemoryFile(self._fs, self._base + key, data)

    def delete(self, key: str) -> None:
        del self._fs.store[self._base + key]

    def objects(self) -> dict[str, bytes]:
        return {
            key.removeprefix(self._base): file.getvalue()
            for key, file in list(self._fs.store.items())
            if key.startswith(self._base)
        }


class LocalDisk:
    """Temporary files of a writer are no objects: nobody is shown them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = f"{folder}/"
        (folder / "data").mkdir(parents=True, exist_ok=True)

    def put(self, key: str, data: bytes) -> None:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".new")
        new.write_bytes(data)
        os.replace(new, path)

    def delete(self, key: str) -> None:
        (self._folder / key).unlink()

    def objects(self) -> dict[str, bytes]:
        return {
            path.relative_to(self._folder).as_posix(): path.read_bytes()
            for path in self._folder.rglob("*")
            if path.is_file() and path.suffix != ".tmp"
        }


class Time:
    """A clock that moves only when somebody sleeps or a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        self.seconds += max(0.0, seconds)
        await asyncio.sleep(0)


@dataclass
class Ran:
    """How a run ended: a report, one of our errors, or not at all (`killed`)."""

    faults: Faults
    report: RunReport | None = None
    error: MetaferryError | None = None

    @property
    def killed(self) -> bool:
        return self.report is None and self.error is None

    @property
    def code(self) -> int:
        assert self.report is not None, self.error
        return self.report.exit_code

    @property
    def writes(self) -> list[Call]:
        """Puts and deletes of documents, `schema.json` included."""
        return [
            call
            for call in self.faults.calls
            if call.operation in ("put", "delete") and call.path.startswith(DOCUMENTS)
        ]


@dataclass
class Site:
    """The tables as rows by what they name; media with their number of frames (None: an image)."""

    disk: Disk
    media: dict[str, int | None] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    frame_rows: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    delete: str = "orphans"
    settings: dict[str, Any] = field(default_factory=dict)
    time: Time = field(default_factory=Time)

    # -- what users and others do

    def put_media(self, name: str, frames: int | None = None) -> None:
        """An image, or a video of so many frames; -1 is a video that is broken."""
        self.media[name] = frames
        data = b"any bytes" if frames is None else b"no video" if frames < 0 else _video(frames)
        self.disk.put(f"data/{name}", data)

    def delete_media(self, name: str) -> None:
        del self.media[name]
        self.disk.delete(f"data/{name}")

    def write_tables(self) -> None:
        lines = ["file_name,scene,n"]
        lines += [f"{name},{_cell(row['scene'])},{_cell(row['n'])}" for name, row in self.rows.items()]
        frames = ["video,frame,speed"]
        frames += [f"{video},{n},{_cell(row['speed'])}" for (video, n), row in self.frame_rows.items()]
        self.disk.put("tables/rows.csv", ("\n".join(lines) + "\n").encode())
        self.disk.put("tables/frames.csv", ("\n".join(frames) + "\n").encode())

    def put_document(self, target: str, data: bytes) -> None:
        self.disk.put(f"data/{target}", data)

    def lose_state(self) -> None:
        for key in self.disk.objects():
            if key.startswith(f"data/{STATE}"):
                self.disk.delete(key)

    # -- what is there

    def objects(self) -> dict[str, bytes]:
        """Everything in the datasource by key."""
        return {
            key.removeprefix("data/"): data
            for key, data in self.disk.objects().items()
            if key.startswith("data/")
        }

    def documents(self) -> dict[str, bytes]:
        return {key: data for key, data in self.objects().items() if key.startswith(DOCUMENTS)}

    def fallback_reason(self) -> dict[str, bytes]:
        """Everything that no run may touch."""
        return {
            key: data
            for key, data in self.disk.objects().items()
            if not key.startswith((f"data/{DOCUMENTS}", f"data/{STATE}"))
        }

    def reset(self, objects: dict[str, bytes]) -> None:
        """Back to what `disk.objects()` gave."""
        for key in self.disk.objects().keys() - objects.keys():
            self.disk.delete(key)
        for key, data in objects.items():
            self.disk.put(key, data)

    # -- running

    @property
    def job(self) -> Job:
        scene = {"scene": "scene::VARCHAR", "n": "n::BIGINT"}
        return Job.from_mapping(
            {
                "input": f"{self.disk.root}data/",
                "sources": [
                    {"table": f"{self.disk.root}tables/rows.csv", "name": "rows", "metadata": scene},
                    {
                        "table": f"{self.disk.root}tables/frames.csv",
                        "name": "frames",
                        "file_name": "video",
                        "frame": "frame",
                        "metadata": {"speed": "speed::DOUBLE"},
                    },
                ],
                # What others write is replaced; that a run stops for it is tested in e2e/test_existing.py.
                "policy": {
                    "max_rejects": "100%",
                    "delete": self.delete,
                    "max_delete": "100%",
                    "existing": "replace",
                    # Media and rows come and go; e2e/test_nothing_used.py tests the stop.
                    "allow_empty": True,
                },
                "concurrency": 4,
                **self.settings,
            }
        )

    def sync(
        self, rules: Iterable[Rule] = (), *, seed: int = 0, run: Callable[..., RunReport] = sync, **world: Any
    ) -> Ran:
        """One run in this weather; `world` goes to its surroundings. `run` is what is run of the job.

        Anything but a report, one of our errors, or a kill is raised.
        """
        self.time.seconds += 60.0
        faults = Faults(rules, seed=seed, clock=self.time.clock, sleep=self.time.sleep)
        deps = RuntimeDeps(
            now=self.time.now,
            clock=self.time.clock,
            sleep=self.time.sleep,
            random=random.Random(f"{seed} {next(_runs)}"),
            wrap=faults.wrap,
            **world,
        )
        ran = Ran(faults)
        try:
            ran.report = run(self.job, deps=deps)
        except MetaferryError as error:
            ran.error = error
        except Killed:
            pass
        assert ran.killed == faults.killed, "a run ends where it is killed, and nowhere else"
        return ran

    # -- what has to be

    def wanted(self) -> dict[str, bytes]:
        """Every document that the tables ask for, by target."""
        wanted: dict[str, bytes] = {}
        for name, row in self.rows.items():
            if name in self.media:
                kind = media_kind(name)
                assert kind is not None
                wanted[document_path(name)] = document(name, kind, row)
        for (name, index), row in self.frame_rows.items():
            frames = self.media.get(name)
            if frames is not None and 0 <= index < frames:
                width = digits(frames)
                merged = below(row, self.rows.get(name, {}))
                wanted[frame_document_path(name, index, width)] = document(
                    frame_file_name(name, index, width), Kind.FRAME, merged
                )
        return wanted

    @property
    def rejected(self) -> int:
        """Rows that name a frame which is not proved to be there."""
        return sum(
            frames is not None and not 0 <= index < frames
            for (name, index), _ in self.frame_rows.items()
            if (frames := self.media.get(name)) is not None
        )

    @property
    def unmatched(self) -> int:
        names = [*self.rows, *(name for name, _ in self.frame_rows)]
        return sum(name not in self.media for name in names)

    def expected(self, before: dict[str, bytes]) -> dict[str, bytes]:
        """The documents after a good run over `before`, without `schema.json`."""
        after = {key: data for key, data in before.items() if key != SCHEMA and not self._goes(key, before)}
        return after | self.wanted()

    def _goes(self, target: str, before: dict[str, bytes]) -> bool:
        """Whether a document that no row is about is deleted."""
        if target in self.wanted() or not target.endswith(".json"):
            return False
        orphans = self.delete == "orphans"
        if target in {document_path(name) for name in self.media}:
            return orphans and not self.rejected
        name = parse_frame_document(target)
        frames = self.media.get(name.video_path) if name is not None else None
        if name is None or frames is None:
            return orphans
        if frames < 0:
            return False
        if name.digits_written != digits(frames) and name.index < frames:
            # The other half of a rename, if the document of the same frame is in place under its right name.
            right = frame_document_path(name.video_path, name.index, digits(frames))
            if right in self.wanted() or (right in before and not self._goes(right, before)):
                return True
        return orphans and (name.index >= frames or not self.rejected)


def furnished(disk: Disk, *, rejects: bool = True, broken: bool = False) -> Site:
    """Images and two videos; something to create, update, keep, delete, rename, reject, and infer.

    `broken`: a video more, whose frames nobody can count, which takes seconds to find out.
    """
    site = Site(disk)
    for name in ("a.png", "b/c.png", "b/d e.png", "same.png", "norows.png"):
        site.put_media(name)
    site.put_media("clip.mp4", 9)
    site.put_media("b/long.mp4", 12)
    site.rows = {
        "a.png": {"scene": "city", "n": 1},
        "b/c.png": {"scene": "road", "n": None},
        "b/d e.png": {"scene": None, "n": 3},
        "same.png": {"scene": "same", "n": 4},
        "clip.mp4": {"scene": "video", "n": 5},
        "nobody.png": {"scene": "x", "n": 6},
    }
    site.frame_rows = {("clip.mp4", n): {"speed": n + 0.5} for n in (0, 4, 8)}
    site.frame_rows |= {("b/long.mp4", n): {"speed": None if n == 3 else 2.5} for n in (3, 11)}
    if rejects:
        site.frame_rows[("clip.mp4", 9)] = {"speed": 1.5}
    if broken:
        site.put_media("bad.mp4", -1)
        site.frame_rows[("bad.mp4", 0)] = {"speed": 1.5}
    site.write_tables()
    site.put_document(document_path("a.png"), document("a.png", Kind.IMAGE, {"scene": "old"}))
    site.put_document(document_path("same.png"), site.wanted()[document_path("same.png")])
    site.put_document(document_path("gone.png"), b"{}")
    site.put_document(frame_document_path("clip.mp4", 4, 2), b"{}")  # 9 frames have one digit
    site.put_document(frame_document_path("b/long.mp4", 3, 1), b"{}")  # and 12 have two
    site.put_document(DOCUMENTS + "readme.txt", b"not ours")
    site.put_document(
        SCHEMA, b'[{"name":"Kept","path":"kept","defaultValue":0,"valueDataType":"NUMERIC_INT"}]'
    )
    return site


@cache
def _video(frames: int) -> bytes:
    return synthetic.video(frames)


def _cell(value: object) -> str:
    return "" if value is None else str(value)
