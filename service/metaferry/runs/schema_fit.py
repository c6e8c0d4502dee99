"""Whether documents in place fit the types that entries of schema.json are about to have.

A consumer stops at one value that is not of its entry's type. Documents that this run writes, or keeps
because they equal what it would write, were checked against these types when they were planned. The
others were not, and are read: another job's documents, orphans, and those that `--limit` defers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from metaferry.errors import StorageError
from metaferry.findings import Code
from metaferry.lightly.key_paths import join_path, split_path
from metaferry.lightly.nested import Steps, unfit_places
from metaferry.lightly.schema import Entry, ValueType
from metaferry.planning.build import Decided
from metaferry.planning.database import Database
from metaferry.planning.existing import MOST_READ
from metaferry.planning.formats import Outcome
from metaferry.planning.listings import listing_prefixes
from metaferry.progress import Progress
from metaferry.runs.in_place import metadata_of, read_in_place
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage

#: Documents that do not fit that are named; the others are counted.
_NAMED: Final = 10

#: Documents that are there, and that this run neither writes, keeps for being equal, nor deletes.
_LEFT: Final = (
    "FROM decided p JOIN documents d ON d.target = p.target "
    "WHERE p.action IN ('skip', 'defer') AND ends_with(d.target, '.json')"
)


def judge_types(
    decided: Decided, database: Database, storage: Storage, portal: Portal, prefix: str, progress: Progress
) -> Decided:
    """The plan, stopped where its schema.json would make documents invalid that it does not write.

    Findings name such documents, and say so when not all could be read.
    """
    entries = decided.entries
    if decided.stopped or not entries.new_types:
        return decided
    retyped = [new.path for old, new in entries.edits if new.type is not old.type]
    folder, _ = listing_prefixes(prefix)
    if folder and retyped:
        return replace(
            decided,
            stopped=f"schema.json would give {', '.join(retyped)} another type, and documents outside "
            f"{folder} were not read",
            advice="run it once without --prefix",
        )
    left: int = database.value(f"SELECT count(*) {_LEFT}")
    progress.phase("Reading documents in place", min(left, MOST_READ))
    rows = database.rows(f"SELECT d.target, d.size {_LEFT} ORDER BY md5(d.target) LIMIT {MOST_READ}")
    bad = find_misfits(database, storage, portal, rows, entries.new_types, progress)
    if folder or left > len(rows):
        database.finding(
            Code.SCHEMA_UNPROVED,
            "warning",
            f"{len(rows):,} of {left:,} documents that stay as they are were read"
            f"{f', and none outside {folder}' if folder else ''}: "
            f"{f'{bad:,} do not fit' if bad else 'all fit'} the entries that are new or change",
            advice="make sure of the others, or run it without --prefix" if folder else "",
        )
    if not bad:
        return decided
    return replace(
        decided,
        stopped=f"{bad:,} document{'s' if bad > 1 else ''} in place would not fit the new schema.json",
        advice="keep the types, or have these documents written anew first, by the job that they belong to",
    )


def find_misfits(
    database: Database,
    storage: Storage,
    portal: Portal,
    rows: Iterable[tuple[str, int]],
    entries: Sequence[Entry],
    progress: Progress,
) -> int:
    """Reads documents (target, size) and returns how many do not fit; the first few are findings.

    One that is not there fits; so does one that is no document, which no type would mend. One that
    cannot be read does not.
    """
    types: dict[Steps, ValueType] = {split_path(entry.path): entry.type for entry in entries}
    bad = 0
    for target, data in read_in_place(storage, portal, rows, progress):
        why = _misfit(data, types)
        bad += bool(why)
        if why and bad <= _NAMED:
            advice = "keep the type of the entry, or have the document written anew first"
            database.finding(Code.SCHEMA_MISFIT, "error", why, advice=advice, target=target)
    return bad


def refused_fit(
    database: Database, storage: Storage, portal: Portal, entries: Sequence[Entry], progress: Progress
) -> bool:
    """Whether what stands in the place of documents that could not be written, and never will be, fits.

    Reads the documents that are refused in the table `outcomes`; False where they are too many.
    """
    refused = f"FROM outcomes WHERE outcome = '{Outcome.REFUSED}'"
    count: int = database.value(f"SELECT count(*) {refused}")
    if count > MOST_READ:
        database.finding(
            Code.SCHEMA_UNPROVED,
            "warning",
            f"schema.json is held back: {count:,} documents could not be written, and so many are not read",
            advice="see why they are refused",
        )
        return False
    rows = [(target, 0) for (target,) in database.rows(f"SELECT target {refused} ORDER BY target")]
    return not find_misfits(database, storage, portal, rows, entries, progress)


def _misfit(data: bytes | StorageError | None, types: Mapping[Steps, ValueType]) -> str:
    """Why a document does not fit; "" where it does."""
    if isinstance(data, StorageError):
        return f"what is in place cannot be read: {data.message}"
    unfit = {} if data is None else unfit_places(metadata_of(data), types)
    for steps, value in unfit.items():
        return f"{join_path(steps)} is {_abbreviated(value)} in this document, which is no {types[steps]}"
    return ""


def _abbreviated(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
