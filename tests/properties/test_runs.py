"""What holds for every run over every small world: the promises of docs and reports, on a store in memory.

A world is media with odd names and collisions, tables with duplicates, strangers and values that
do not fit, documents already in place, and a policy. Each is planned, synced, and synced again.
"""

from __future__ import annotations

import io
import json
import uuid
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import pyarrow.parquet as pq
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import metaferry
from metaferry.errors import JobError
from metaferry.job.model import Job
from metaferry.lightly.names import DOCUMENTS, SCHEMA, digits, frame_document_path
from metaferry.lightly.schema import parse_schema
from unit.media import synthetic

#: Videos whose frames can be counted, and one that is none.
FRAMES: Final = {"clip.mp4": 9, "d/long.mp4": 12}
BROKEN: Final = "bad.mp4"

NAMES: Final = (
    *FRAMES,
    BROKEN,
    "a.png",
    "a.jpg",  # shares a document with the one before
    "A.png",
    "u\u0308.png",  # two names that look the same
    "\u00fc.png",
    "b b.png",
    "d/c.png",
    "d/e#f?x=1.png",
    "100%.png",
    "quote\"'.png",
    "\u65e5\u672c.webp",
    ".hidden.png",
    "schema.png",  # its document would be schema.json
    "clip-5-mp4.png",  # its document is that of a frame
    "clip-05-mp4.png",
    "back\\slash.png",
    "note.txt",
)
STRANGERS: Final = (None, "", "nobody.png", "../a.png", "/a.png", "s3://x/a.png", "a.PNG", "./d/c.png")
IN_PLACE: Final = {
    ".lightly/metadata/a.json": b'{"by": "somebody"}',
    ".lightly/metadata/clip-05-mp4.json": b"{}",  # a frame of clip.mp4, with two digits
    ".lightly/metadata/clip-5-mp4.json": b"{}",
    ".lightly/metadata/gone.json": b"{}",
    ".lightly/metadata/d/readme.txt": b"not ours",
}

SCALARS: Final = st.sampled_from(
    [None, 0, 7, -1, 2**53, 2**53 + 1, 0.5, True, "", "text", "7", 'q"\\\n', "\u2028"]
)
RECORDS: Final = st.fixed_dictionaries(
    {"file_name": st.sampled_from([*NAMES, *FRAMES, *FRAMES, *STRANGERS])},
    optional={
        "frame": st.sampled_from([None, 0, 5, 8, 9, 11, 12, -1, 1.5]),
        "stop": st.sampled_from([None, 0, 5, 6, 8, 9]),
        "n": SCALARS,
        "s": st.sampled_from([None, "x", "y"]),
        "deep": st.fixed_dictionaries({}, optional={"k": st.sampled_from([None, 1, 2]), "l": SCALARS}),
        "many": st.lists(st.integers(-3, 3), max_size=2),
    },
)
WHERE: Final = "s IS DISTINCT FROM 'y'"


@dataclass(frozen=True)
class Drawn:
    media: frozenset[str]
    tables: tuple[tuple[dict[str, Any] | None, ...], ...]  # None: a line that is no JSON
    in_place: frozenset[str]
    ranges: bool  # whether frame and stop are a range, where there are both
    where: bool  # whether the tables leave out the rows of s = 'y'
    entry: str | None  # the type that the schema.json in place demands of `n`
    policy: dict[str, Any] = field(hash=False)


WORLDS: Final = st.builds(
    Drawn,
    media=st.frozensets(st.sampled_from(NAMES), min_size=1),
    tables=st.lists(
        st.lists(st.one_of(RECORDS, RECORDS, RECORDS, RECORDS, st.none()), min_size=1, max_size=8).map(tuple),
        min_size=1,
        max_size=2,
    ).map(tuple),
    in_place=st.frozensets(st.sampled_from(sorted(IN_PLACE))),
    ranges=st.booleans(),
    where=st.booleans(),
    entry=st.sampled_from([None, None, "NUMERIC_INT", "NUMERIC_FLOAT", "CATEGORICAL_STRING"]),
    policy=st.fixed_dictionaries(
        {
            "max_rejects": st.sampled_from(["100%", "100%", 0, 2]),
            "unmatched": st.sampled_from(["report", "reject"]),
            "delete": st.sampled_from(["never", "orphans"]),
            "max_delete": st.sampled_from(["100%", "10%"]),
            "existing": st.sampled_from(["stop", "replace"]),
        }
    ),
)


class World:
    """A drawn world, laid out in the memory that `memory://` URLs mean."""

    def __init__(self, drawn: Drawn) -> None:
        self.base = f"/{uuid.uuid4().hex}"
        self.fs = MemoryFileSystem()
        self.lines = [[_line(record) for record in table] for table in drawn.tables]
        for name in drawn.media:
            self._put(f"data/{name}", _video(FRAMES[name]) if name in FRAMES else b"any bytes")
        for name in drawn.in_place:
            self._put(f"data/{name}", IN_PLACE[name])
        if drawn.entry is not None:
            default: Any = "undefined" if drawn.entry == "CATEGORICAL_STRING" else 0
            entry = {"name": "N", "path": "n", "defaultValue": default, "valueDataType": drawn.entry}
            self._put(f"data/{SCHEMA}", json.dumps([entry]).encode())
        for number, lines in enumerate(self.lines):
            self._put(f"t{number}.jsonl", "\n".join(lines).encode() + b"\n")
        self.filtered = [
            sum(record is not None and record.get("s") == "y" for record in table) if drawn.where else 0
            for table in drawn.tables
        ]
        self.job = Job.from_mapping(
            {
                "input": self.url("data/"),
                "sources": [
                    {
                        "table": self.url(f"t{number}.jsonl"),
                        **_frame(table, drawn.ranges),
                        **({"where": WHERE} if drawn.where and _has(table, "s") else {}),
                    }
                    for number, table in enumerate(drawn.tables)
                ],
                "policy": drawn.policy,
            }
        )

    def url(self, name: str) -> str:
        return f"memory:/{self.base}/{name}"

    def _put(self, key: str, content: bytes) -> None:
        path = f"{self.base}/{key}"
        self.fs.store[path] = MemoryFile(self.fs, path, content)

    def objects(self) -> dict[str, bytes]:
        """Everything in the datasource, by key."""
        below = f"{self.base}/data/"
        return {
            path.removeprefix(below): file.getvalue()
            for path, file in list(self.fs.store.items())
            if path.startswith(below)
        }

    def rows(self, pattern: str) -> list[dict[str, Any]]:
        """The rows of all Parquet files whose path ends like that."""
        return [
            row
            for path, file in list(self.fs.store.items())
            if path.startswith(self.base) and pattern in path and path.endswith(".parquet")
            for row in pq.read_table(io.BytesIO(file.getvalue())).to_pylist()
        ]

    def clear(self) -> None:
        for path in [path for path in self.fs.store if path.startswith(self.base)]:
            del self.fs.store[path]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(WORLDS)
def test_the_promises_of_a_run(drawn: Drawn) -> None:
    world = World(drawn)
    try:
        _check(world)
    finally:
        world.clear()


def _check(world: World) -> None:
    before = world.objects()
    try:
        plan = metaferry.plan(world.job, out=world.url("plan"))
    except JobError as error:
        # Two sources that disagree on what a key is: nothing may happen then.
        event("refused: " + ("types" if "cast" in error.advice else "other"))
        assert _documents(world.objects()) == _documents(before)
        return
    planned = {row["target"]: row for row in world.rows("/plan/shard=")}
    report = metaferry.sync(world.job)
    after = world.objects()
    event(f"exit {report.exit_code}")

    _adds_up(world, report, planned)
    assert (report.exit_code, report.sources, report.media) == (plan.exit_code, plan.sources, plan.media)
    assert not report.documents.failed
    assert not report.documents.conflict
    # 4: the exit code tells whether anything is missing.
    if report.stopped:
        assert report.exit_code == 5
        assert _documents(after) == _documents(before), "stopped before the first write"
    else:
        assert report.exit_code == (3 if report.rejected else 0)
        _is_as_planned(planned, _documents(before), _documents(after))
        # 5: the schema covers what is there, in a form that the consumer takes.
        assert report.schema.written == (before.get(SCHEMA) != after.get(SCHEMA))
        if SCHEMA in after:
            assert len(parse_schema(after[SCHEMA], SCHEMA)) == report.schema.entries
        # 2: there is nothing left to do.
        again = metaferry.sync(world.job)
        assert (again.changes, again.schema.written, again.exit_code) == (0, False, report.exit_code)
        assert _documents(world.objects()) == _documents(after)
    # 6: nothing else was touched.
    assert _elsewhere(world.objects()) == _elsewhere(before)
    # 7: frame documents have the digits of a count that is proved.
    for row in planned.values():
        if row["kind"] == "frame" and row["body"] is not None:
            frames = FRAMES[row["media"]]
            assert row["target"] in {
                frame_document_path(row["media"], index, digits(frames)) for index in range(frames)
            }


def _adds_up(world: World, report: metaferry.RunReport, planned: dict[str, dict[str, Any]]) -> None:
    """3: every row is accounted for, and each that was not used is named."""
    assert [source.read for source in report.sources] == [len(lines) for lines in world.lines]
    assert [source.filtered for source in report.sources] == world.filtered
    unused = 0
    for source in report.sources:
        left_out = source.rejected + source.unmatched + source.excluded
        assert source.read == source.used + left_out + source.filtered + source.repeated
        unused += left_out
    rejects = world.rows(f"/runs/{report.run_id}/rejects")
    assert len({(row["source"], row["row"]) for row in rejects}) == unused
    for row in rejects:
        assert row["message"]
        assert 1 <= row["row"] <= len(world.lines[int(row["source"].removesuffix(".jsonl")[-1])])
    counts = report.documents
    wanted = counts.create + counts.update + counts.keep + counts.failed + counts.conflict + counts.deferred
    assert wanted == sum(row["action"] in ("create", "update", "keep") for row in planned.values())
    assert wanted + counts.delete + counts.skip == len(planned)


def _is_as_planned(
    planned: dict[str, dict[str, Any]], before: dict[str, bytes], after: dict[str, bytes]
) -> None:
    """1: each document is exactly the planned bytes, or exactly what it was."""
    assert after.keys() | before.keys() == planned.keys()
    for target, row in planned.items():
        match row["action"]:
            case "create" | "update":
                assert after[target] == row["body"].encode()
                assert set(json.loads(after[target])) >= {"type", "metadata"}
            case "delete":
                assert target in before
                assert target not in after
            case "keep" | "skip":
                assert after[target] == before[target]
            case action:
                raise AssertionError(action)


def _documents(objects: dict[str, bytes]) -> dict[str, bytes]:
    return {key: body for key, body in objects.items() if key.startswith(DOCUMENTS) and key != SCHEMA}


def _elsewhere(objects: dict[str, bytes]) -> dict[str, bytes]:
    return {key: body for key, body in objects.items() if not key.startswith((DOCUMENTS, ".metaferry/"))}


def _frame(table: tuple[dict[str, Any] | None, ...], ranges: bool) -> dict[str, Any]:
    if ranges and _has(table, "frame") and _has(table, "stop"):
        return {"frame": {"from": "frame", "to": "stop"}}
    return {"frame": "frame"} if _has(table, "frame") else {}


def _has(table: tuple[dict[str, Any] | None, ...], key: str) -> bool:
    return any(record is not None and key in record for record in table)


def _line(record: dict[str, Any] | None) -> str:
    return '{"file_name": ' if record is None else json.dumps(record)


@cache
def _video(frames: int) -> bytes:
    return synthetic.video(frames)
