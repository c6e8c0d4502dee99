"""What a rollback does with schema.json, and whether documents fit the entries that it leaves.

schema.json comes last, as in a sync: entries are there before nothing is behind them, and a document's
values fit the entries that the run found as well as those that it left, unless an entry changed its type.
Where one did, the documents that the rollback does not bring back are read before the older entries return;
and where schema.json stays as somebody else made it, no old version returns that does not fit it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from metaferry.errors import Conflict, NotFound, SchemaError, Scope, StorageError
from metaferry.findings import Code
from metaferry.lightly.document import md5_hex
from metaferry.lightly.key_paths import split_path
from metaferry.lightly.names import DOCUMENTS, SCHEMA
from metaferry.lightly.nested import unfit_places
from metaferry.lightly.schema import Entry, parse_schema
from metaferry.planning.database import Database
from metaferry.planning.existing import MOST_READ
from metaferry.planning.formats import BackupSchema
from metaferry.planning.formats.backup import decoded
from metaferry.progress import Progress
from metaferry.runs.in_place import metadata_of
from metaferry.runs.schema_fit import find_misfits
from metaferry.runs.state.folder import State
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ABSENT, ANYTHING, Precondition, Storage

#: Rows of a piece that are in memory at once.
_ROWS: Final = 512

RESTORE: Final = "restore"
REMOVE: Final = "remove"
UNCHANGED: Final = "unchanged"
CONFLICT: Final = "conflict"
HELD_BACK: Final = "held back"
NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class SchemaStep:
    """What becomes of schema.json: `step` as `RollbackReport.schema`. `old` and `now` are the entries that
    come back and those in place (None: no schema.json, or one that is none); `token` is that of its version
    in place."""

    step: str
    data: bytes | None = None
    token: str | None = None
    old: tuple[Entry, ...] | None = None
    now: tuple[Entry, ...] | None = None
    inferred: bytes | None = None

    @property
    def retyped(self) -> list[Entry]:
        """Entries that come back with a type that the ones in place do not give their path."""
        now = {entry.path: entry.type for entry in self.now or ()}
        return [entry for entry in self.old or () if now.get(entry.path) is not entry.type]

    @property
    def foreign(self) -> list[Entry]:
        """Entries in place that those before the run do not have, or have with another type."""
        old = {entry.path: entry.type for entry in self.old or ()}
        return [entry for entry in self.now or () if old.get(entry.path) is not entry.type]


def decide_schema(kept: BackupSchema | None, storage: Storage, portal: Portal) -> SchemaStep:
    """Reads schema.json in place. Raises StorageError."""
    if kept is None:
        return SchemaStep(NONE)
    old = kept.data
    try:
        blob = portal.run(storage.read(SCHEMA))
    except NotFound as error:
        if not error.path:
            raise
        return SchemaStep(UNCHANGED if old is None else CONFLICT, old, None, _entries(old))
    step = CONFLICT
    if blob.data == old:
        step = UNCHANGED
    elif md5_hex(blob.data) == kept.written:
        step = REMOVE if old is None else RESTORE
    entries = _entries(old), _entries(blob.data)
    return SchemaStep(step, old, blob.token, *entries, decoded(kept.inferred))


def keep_misfits(database: Database, files: Sequence[Path], schema: SchemaStep) -> None:
    """Old versions that do not fit a schema.json that somebody else changed stay away: conflicts in the
    table `rolled`."""
    types = {split_path(entry.path): entry.type for entry in schema.foreign}
    if schema.step != CONFLICT or not types:
        return
    unfit: list[str] = []
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=_ROWS, columns=["target", "body"]):
                unfit += [
                    row["target"]
                    for row in batch.to_pylist()
                    if row["body"] is not None and unfit_places(metadata_of(row["body"]), types)
                ]
    database.run("CREATE OR REPLACE TEMP TABLE unfit (target VARCHAR)")
    database.insert("unfit", pa.table({"target": pa.array(unfit, pa.string())}))
    database.run(
        "UPDATE rolled SET step = 'conflict', "
        "why = 'its old version does not fit schema.json, which was changed since the run' "
        "WHERE step IN ('restore', 'recreate') AND target IN (FROM unfit)"
    )


def fits_old_entries(
    database: Database, schema: SchemaStep, storage: Storage, portal: Portal, progress: Progress
) -> bool:
    """Whether the documents that the rollback does not bring back fit the entries that come back.

    Those are conflicts, and what later runs wrote. They are read where an entry has another type than the
    one in place; findings name those that do not fit. False also where they are too many to read.
    """
    if not schema.retyped:
        return True
    database.run("CREATE OR REPLACE TEMP TABLE others (target VARCHAR)")
    portal.run(_list_documents(database, storage))
    left = (
        "FROM others WHERE target NOT IN "
        "(SELECT target FROM rolled WHERE old AND step IN ('restore', 'recreate', 'unchanged'))"
    )
    count: int = database.value(f"SELECT count(*) {left}")
    if count > MOST_READ:
        database.finding(
            Code.SCHEMA_UNPROVED,
            "warning",
            f"schema.json is held back: its older entries have other types, and {count:,} documents that "
            "this run did not write are too many to read",
            advice="roll back the runs after this one first, newest first",
            target=SCHEMA,
        )
        return False
    rows = [(target, 0) for (target,) in database.rows(f"SELECT target {left} ORDER BY target")]
    return not find_misfits(database, storage, portal, rows, schema.retyped, progress)


async def _list_documents(database: Database, storage: Storage) -> None:
    """Adds all documents in place to the table `others`, a page at a time."""
    async for page in storage.list(DOCUMENTS):
        names = [entry.path for entry in page if entry.path != SCHEMA and entry.path.endswith(".json")]
        database.insert("others", pa.table({"target": pa.array(names, pa.string())}))


def put_schema(schema: SchemaStep, storage: Storage, state: State, portal: Portal) -> None:
    """Brings schema.json back, and the record of inferred entries with it. Raises StorageError: Conflict
    where somebody else changed it meanwhile."""
    only_if: Precondition = ABSENT if schema.token is None else schema.token
    if not storage.capabilities.honours(only_if):
        only_if = ANYTHING
    if schema.data is None:
        portal.run(storage.delete(SCHEMA, only_if=only_if))
    else:
        portal.run(storage.put(SCHEMA, schema.data, only_if=only_if))
    if schema.inferred is None:
        state.delete([state.inferred_key])
    else:
        state.write(state.inferred_key, schema.inferred)


def name_failure(database: Database, error: StorageError) -> None:
    """The finding of a schema.json that could not be brought back. Raises the error that concerns all."""
    if error.scope is Scope.ALL:
        raise error
    code = Code.DOCUMENT_CONFLICT if isinstance(error, Conflict) else Code.DOCUMENT_FAILED
    database.finding(code, "error", error.message, advice=error.advice, target=SCHEMA)


def _entries(data: bytes | None) -> tuple[Entry, ...] | None:
    try:
        return None if data is None else parse_schema(data, SCHEMA)
    except SchemaError:
        return None
