"""Reads the documents that nothing proves, all or a sample, and judges each by itself.

Table `checked` has a row for each document: `proved`, `sampled` (chosen by its hash), `looked` (read, for its
hash or for its folder), its `state` (values, default, invalid, gone, or unknown), and the `md5` of what was
read of the documents of a plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from metaferry.errors import StorageError
from metaferry.findings import Code
from metaferry.lightly.document import md5_hex
from metaferry.lightly.key_paths import split_path
from metaferry.lightly.nested import EntryTypes, has_value
from metaferry.lightly.schema import Entry
from metaferry.planning.database import Database
from metaferry.planning.existing import LARGEST
from metaferry.progress import Progress
from metaferry.runs.in_place import read_in_place
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from metaferry.view.check.found import COLUMNS, TABLE
from metaferry.view.check.sample import FLOOR, Sample
from metaferry.view.tree.document import Fault, Named, read_document
from metaferry.view.tree.names import names_of

#: Results that are stored at once.
_BATCH: Final = 10_000
#: Documents that are read to look into folders, at least, where a sample is smaller.
_FOR_FOLDERS: Final = 1_000

VALUES: Final = "values"
DEFAULT: Final = "default"
INVALID: Final = "invalid"
UNKNOWN: Final = "unknown"
#: Gone since it was listed.
GONE: Final = "gone"

_STATES: Final = pa.schema([("target", pa.string()), ("state", pa.string()), ("md5", pa.string())])
_FINDINGS: Final = pa.schema(
    [(name, pa.int32() if kind == "INTEGER" else pa.string()) for name, kind in COLUMNS.items()]
)
_ADVICE: Final = "mend it, or let a sync of its job write it"


def read_and_judge(
    database: Database,
    storage: Storage,
    portal: Portal,
    progress: Progress,
    entries: Sequence[Entry],
    sample: Sample | None,
    *,
    planned: bool,
) -> None:
    """Makes `checked`, and adds the faults of documents to the findings. `planned`: there is a plan."""
    _choose(database, sample)
    types = EntryTypes({split_path(entry.path): entry.type for entry in entries})
    total: int = database.value("SELECT count(*) FROM checked WHERE looked")
    database.create_like("read_states", _STATES)
    progress.phase("Reading documents", total)
    waiting: dict[str, tuple[Any, ...]] = {}
    states: list[tuple[Any, ...]] = []
    faults: list[tuple[Any, ...]] = []
    for target, data in read_in_place(storage, portal, _rows(database, waiting), progress):
        _, _, kind, media, file_name, shared = waiting.pop(target)
        state, fault = judge(data, names_of(kind, file_name, shared), types)
        if planned or state != VALUES:  # nearly all have that state, and nothing else is kept of them
            states.append((target, state, md5_hex(data) if planned and isinstance(data, bytes) else None))
        if fault is not None:
            faults.append(_finding(target, kind, media, fault))
        if len(states) == _BATCH:
            _store(database, states, faults)
    for target, kind, media, size in database.rows(
        f"SELECT target, kind, media, size FROM checked WHERE looked AND size > {LARGEST} ORDER BY target"
    ):
        states.append((target, INVALID, None))
        fault = Fault(0, 0, f"too large to be a document: {size:,} bytes")
        faults.append(_finding(target, kind, media, fault))
    _store(database, states, faults)
    database.run(f"UPDATE checked SET state = '{VALUES}' WHERE looked")
    database.run(
        "UPDATE checked SET state = r.state, md5 = r.md5 FROM read_states r WHERE r.target = checked.target"
    )
    database.run("DROP TABLE read_states")


def judge(
    data: bytes | StorageError | None, names: Sequence[Named], types: EntryTypes
) -> tuple[str, Fault | None]:
    """The state of one document as it was read, and its fault. Pure."""
    if data is None:
        return GONE, None
    if isinstance(data, StorageError):
        return INVALID, Fault(0, 0, f"it cannot be read: {data.message}")
    metadata, fault = read_document(data, names=names, types=types)
    if fault is not None:
        return INVALID, fault
    for steps in types:  # as a rule the first; `any` takes longer than that
        if has_value(metadata, steps):
            return VALUES, None
    return DEFAULT, None


def _finding(target: str, kind: str | None, media: str | None, fault: Fault) -> tuple[Any, ...]:
    """A row of the findings."""
    return (
        str(Code.DOCUMENT_INVALID), "error", target, kind or "", media or "",
        fault.line, fault.column, fault.message, _ADVICE,
    )  # fmt: skip


def _choose(database: Database, sample: Sample | None) -> None:
    """Table `checked`, with what is to be read. Folders add as many again at most, or `_FOR_FOLDERS`."""
    hashed = (sample or Sample(share=1.0)).hash_sql("t.target")
    database.run(
        f"""
        CREATE TABLE checked AS
        SELECT t.target, t.size, t.kind, t.media, p.target IS NOT NULL AS proved,
               CASE WHEN n.target IS NULL THEN t.file_name END AS file_name, t.shared,
               regexp_replace(t.target, '[^/]*$', '') AS folder, {hashed} AS hashed,
               false AS sampled, false AS looked, '{UNKNOWN}' AS state, NULL::VARCHAR AS md5
        FROM tree_documents t LEFT JOIN proved p ON p.target = t.target
        LEFT JOIN (SELECT target FROM {TABLE} WHERE code = '{Code.DOCUMENT_MISNAMED}') n
        ON n.target = t.target
        """
    )
    if sample is None:
        database.run("UPDATE checked SET sampled = true, looked = true WHERE NOT proved")
        return
    database.run(
        f"""
        CREATE TABLE chosen AS
        SELECT target, {sample.chosen_sql("hashed", "rank")} AS sampled,
               in_folder <= {FLOOR} AS floor, rank
        FROM (
            SELECT target, hashed, row_number() OVER (ORDER BY hashed, target) AS rank,
                   row_number() OVER (PARTITION BY folder ORDER BY hashed, target) AS in_folder
            FROM checked WHERE NOT proved
        )
        """
    )
    sampled: int = database.value("SELECT count(*) FROM chosen WHERE sampled")
    database.run(
        f"""
        UPDATE checked SET sampled = c.sampled, looked = true
        FROM (
            SELECT target, sampled FROM chosen WHERE sampled
            UNION ALL
            (SELECT target, false FROM chosen WHERE floor AND NOT sampled ORDER BY rank
             LIMIT {max(sampled, _FOR_FOLDERS)})
        ) c WHERE c.target = checked.target
        """
    )
    database.run("DROP TABLE chosen")


def _rows(database: Database, waiting: dict[str, tuple[Any, ...]]) -> Iterator[tuple[str, int]]:
    """Target and size of each document to be read, by name; its row goes to `waiting`."""
    database.run(
        "CREATE TABLE to_read AS SELECT row_number() OVER (ORDER BY target) AS n, target, size, kind, media, "
        f"file_name, shared FROM checked WHERE looked AND size <= {LARGEST}"
    )
    for row in database.numbered("target, size, kind, media, file_name, shared", "to_read", size=_BATCH):
        waiting[row[0]] = row
        yield row[0], row[1]
    database.run("DROP TABLE to_read")


def _store(database: Database, states: list[tuple[Any, ...]], faults: list[tuple[Any, ...]]) -> None:
    for table, schema, rows in (("read_states", _STATES, states), (TABLE, _FINDINGS, faults)):
        database.insert_rows(table, schema, rows)
    states.clear()
    faults.clear()
