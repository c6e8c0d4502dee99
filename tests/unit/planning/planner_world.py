"""A small world for the planner: media, documents, records and frame counts, given as plain values.

The tables are filled as the readers leave them (`tables/model.py`), so that each rule of the plan
is tested by itself; the readers, stores and decoders have tests of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaferry.errors import StorageError
from metaferry.job.model import Job
from metaferry.lightly.schema import Entry as SchemaEntry
from metaferry.media.frames.model import FrameCount, digits_of
from metaferry.media.listing import MediaFilter
from metaferry.planning import build
from metaferry.planning.database import Database, open_database
from metaferry.planning.formats import LEDGER_COLUMNS, ddl
from metaferry.planning.listings import Listings
from metaferry.storage.protocol import Entry
from metaferry.tables.model import KeyColumn, Loaded, TableFile


@dataclass
class Table:
    """Rows of one source: (file_name, frame, *values), in the order of `keys` (path: engine type)."""

    rows: Sequence[tuple[Any, ...]]
    keys: Mapping[str, str] = field(default_factory=lambda: {"n": "BIGINT"})
    label: str = "labels.csv"
    has_frame: bool = True
    malformed: int = 0


@dataclass
class Plan:
    """A decided plan, read out."""

    decided: build.Decided
    actions: dict[str, str]
    why: dict[str, str]
    bodies: dict[str, Any]
    rejects: list[tuple[str, int, str]]  # (code, row, message)
    findings: list[tuple[str, str, str, str]]  # (code, severity, message, advice)
    counted: list[str]  # videos whose frames were asked for
    ledger_loaded: bool
    read: list[str]  # documents whose bytes were asked for

    def codes(self) -> dict[int, str]:
        return {row: code for code, row, _ in self.rejects}

    def advice(self, code: str) -> list[str]:
        return [advice for c, _, _, advice in self.findings if c == code]


def decide(
    listed: Sequence[str],
    /,
    *tables: Table,
    documents: Mapping[str, bytes] | None = None,
    unreadable: Mapping[str, StorageError] | None = None,
    proved: bool = True,
    ledger: Mapping[str, tuple[str, str]] | None = None,
    frames: Mapping[str, int | str] | None = None,
    in_place: tuple[SchemaEntry, ...] | None = None,
    prefix: str = "",
    limit: int | None = None,
    ledger_complete: bool = True,
    **job: Any,
) -> Plan:
    """Plans over this world. `frames` is a count, or the reason why there is none."""
    job.setdefault("policy", {"max_rejects": "100%"})
    settings = Job.from_mapping(
        {"input": "/in", "sources": [{"table": f"/t/{table.label}"} for table in tables], **job},
        base=Path("/"),
    )
    counted: list[str] = []
    loads: list[bool] = []
    reads: list[str] = []
    with open_database(memory_limit="512MB", scratch=None) as database:
        loaded = [_load(database, index, table) for index, table in enumerate(tables)]
        listings = Listings(database)
        rules = MediaFilter(settings.media.include, settings.media.exclude, prefix)
        listings.add_media(rules.page([Entry(path, 10, "t", None, 0.0) for path in listed]))
        listings.add_documents(
            [
                Entry(target, len(body), f"token-{_md5(body)}", _md5(body) if proved else None, 0.0)
                for target, body in (documents or {}).items()
            ]
        )
        listings.finish()
        database.run(ddl("ledger", LEDGER_COLUMNS))

        def load_ledger() -> None:
            loads.append(True)
            for target, (token, md5) in (ledger or {}).items():
                database.run("INSERT INTO ledger VALUES (?, ?, ?, NULL)", [target, token, md5])

        def read(rows: Iterable[tuple[str, int]]) -> Iterator[tuple[str, bytes | StorageError | None]]:
            for target, _ in rows:
                reads.append(target)
                yield target, (unreadable or {}).get(target, (documents or {}).get(target))

        def count(videos: Sequence[Any]) -> list[FrameCount]:
            counted.extend(video.path for video in videos)
            return [_count(video.path, (frames or {})[video.path]) for video in videos]

        decided = build.decide(
            database,
            settings,
            loaded,
            in_place=in_place,
            given=None,
            count_frames=count,
            load_ledger=load_ledger,
            read_documents=read,
            prefix=prefix,
            limit=limit,
            ledger_complete=ledger_complete,
        )
        rows = database.rows("SELECT target, action, why FROM decided")
        return Plan(
            decided=decided,
            actions={target: action for target, action, _ in rows},
            why={target: why for target, _, why in rows},
            bodies={t: json.loads(body) for t, body in database.rows("SELECT target, body FROM wanted")},
            rejects=database.rows('SELECT code, "row", message FROM rejects ORDER BY "row", code'),
            findings=database.rows("SELECT code, severity, message, advice FROM findings ORDER BY ALL"),
            counted=counted,
            ledger_loaded=bool(loads),
            read=reads,
        )


def _count(path: str, answer: int | str) -> FrameCount:
    if isinstance(answer, str):
        return FrameCount(path, None, None, reason=answer)
    return FrameCount(path, answer, digits_of(answer), "decoded")


def _load(database: Database, index: int, table: Table) -> Loaded:
    """Rows are numbered from 2, as the lines of a CSV with a header are."""
    kinds = list(table.keys.values())
    columns = "".join(f", k{n} {kind}" for n, kind in enumerate(kinds))
    database.run(
        f"CREATE TABLE source_{index} (file INTEGER, row BIGINT, file_name VARCHAR, frame VARCHAR, "
        f"frame_index BIGINT, frame_bad VARCHAR{columns})"
    )
    for number, (name, frame, *values) in enumerate(table.rows, start=2):
        bad = frame if isinstance(frame, str) else None
        good = frame if isinstance(frame, int) else None
        text = None if frame is None else str(frame)
        places = ", ".join(f"CAST(? AS {kind})" for kind in ["VARCHAR"] * 2 + ["BIGINT", "VARCHAR", *kinds])
        database.run(
            f"INSERT INTO source_{index} SELECT 0, {number}, {places}", [name, text, good, bad, *values]
        )
    database.run(f"CREATE TABLE files_{index} (file INTEGER, url VARCHAR)")
    database.run(f"INSERT INTO files_{index} VALUES (0, ?)", [table.label])
    for n in range(table.malformed):
        database.run(
            "INSERT INTO rejects VALUES (?, ?, ?, 'source.malformed', '', '', '', 'ragged')",
            [table.label, table.label, 1000 + n],
        )
    rows = len(table.rows) + table.malformed
    return Loaded(
        label=table.label,
        table=f"source_{index}",
        files=(TableFile(table.label, 1, "t", rows),),
        read=rows,
        malformed=table.malformed,
        keys=tuple(
            KeyColumn(tuple(path.split(".")), f"k{n}", kind)
            for n, (path, kind) in enumerate(table.keys.items())
        ),
        has_frame=table.has_frame,
    )


def document(target: str) -> str:
    """A key below `.lightly/metadata/`."""
    return f".lightly/metadata/{target}"


def _md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()
