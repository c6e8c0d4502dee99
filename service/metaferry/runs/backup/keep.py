"""Keeps the old versions of documents before a run overwrites or deletes them.

Each is read as the version that the plan replaces, which is the precondition of its write: what is kept is
what was in place. A part of the plan is read to its end, its pieces are written, and then the JSON that
names them (`planning/formats/backup.py`); only then may its documents be touched. One slice of documents
is in memory, and one piece while it is put.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metaferry.apply.outage import Outage as OutageDetector
from metaferry.apply.outcome import Applied, Tally
from metaferry.apply.shards import Step, shard_files
from metaferry.apply.step import not_done
from metaferry.errors import Changed, Conflict, MetaferryError, NotFound, Outage, Scope, StorageError
from metaferry.lightly import schema as rules
from metaferry.lightly.document import md5_hex
from metaferry.lightly.names import SCHEMA
from metaferry.planning.database import Database
from metaferry.planning.formats import (
    Action,
    BackupCounts,
    BackupPart,
    BackupSchema,
    Outcome,
    PlanFile,
)
from metaferry.planning.formats.backup import encoded
from metaferry.planning.sql.rules import quote_text
from metaferry.progress import Progress, Stop
from metaferry.runs.backup.pieces import Kept, Pieces
from metaferry.runs.draining import ending_at_once
from metaferry.runs.outcomes import Outcomes
from metaferry.runs.state.folder import State
from metaferry.runs.storages import Storages
from metaferry.storage.errors import NOTHING_THERE
from metaferry.storage.io.concurrent import in_order
from metaferry.storage.io.portal import Portal
from metaferry.storage.io.whole import read_whole
from metaferry.storage.protocol import Storage

#: A slice of documents that are read: so many, and so many bytes, unless one document has more.
_SLICE: Final = 512
_SLICE_BYTES: Final = 16_000_000
#: Rows of a plan that are read at once.
_BATCH_ROWS: Final = 4_096

#: Why a document is left whose old version is not known.
_CHANGED: Final = "changed by somebody else since it was listed; left as they wrote it"
_UNREADABLE: Final = "left as it is, since its old version cannot be kept: "
_WITHOUT: Final = "see why it cannot be read; `--set backup=null` replaces it without a backup"


class _Row(NamedTuple):
    """What a plan says of one document that it changes."""

    target: str
    action: str
    md5: str | None
    expect: str | None
    size: int
    ours: bool


class BackupKeeper:
    """Keeps the old versions of one run; `counts` is what it has kept in this process."""

    def __init__(
        self,
        database: Database,
        storages: Storages,
        lightly: Storage,
        state: State,
        *,
        run_id: str,
        started: str,
    ) -> None:
        self._database = database
        self._storages = storages
        self._lightly = lightly
        self._state = state
        self._portal: Portal = storages.portal
        self._run_id = run_id
        self._started = started
        self.counts = BackupCounts()

    def keep(
        self,
        part: str,
        plan: Path,
        actions: frozenset[Action],
        tally: Tally,
        *,
        stop: Stop,
        progress: Progress,
        shards: Collection[int] | None = None,
        schema: BackupSchema | None = None,
    ) -> None:
        """Keeps what the plan's files would overwrite or delete, under the name `part`, and `schema`.

        A document whose old version is not known, since it changed since it was listed or cannot be read,
        is left out of the plan's files, with its outcome in `tally` and in the table `outcomes`. When `stop`
        is set it ends early, with nothing covered: the caller writes nothing then. Raises the StorageError
        that concerns every document, and Outage where too many in a row cannot be read for one reason.
        """
        try:
            with ending_at_once(stop, self._storages, self._portal):
                refused = self._keep(part, plan, actions, stop, progress, shards, schema)
        except MetaferryError:
            if not stop.requested:
                raise
            return
        with closing(Outcomes(self._database)) as outcomes:
            outcomes.add(refused)
        for applied in refused:
            tally.add(applied)

    def _keep(
        self,
        part: str,
        plan: Path,
        actions: frozenset[Action],
        stop: Stop,
        progress: Progress,
        shards: Collection[int] | None,
        schema: BackupSchema | None,
    ) -> list[Applied]:
        pieces = Pieces(self._database.scratch, self._state, self._run_id, part)
        refused: list[Applied] = []
        outage = OutageDetector()
        try:
            for rows in _slices(plan, actions, shards):
                if stop.requested:
                    raise stop.error
                for kept in self._read_all(rows):
                    if isinstance(kept, Applied):
                        refused.append(kept)
                        if kept.outcome is not Outcome.CONFLICT:
                            outage.failed(kept.cause)
                    elif kept is not None:
                        pieces.add(kept)
                        if kept.body is not None:
                            outage.written()
                            self.counts.documents += 1
                            self.counts.bytes += len(kept.body)
                progress.advance(len(rows))
                if outage.reason:
                    raise Outage(self._lightly.url, outage.reason)
            files = pieces.close()
        finally:
            pieces.discard()
        self.counts.puts += len(files)
        if files or schema is not None:
            self._commit(part, files, pieces.rows, schema)
        if refused:
            self._leave_out(plan, [applied.target for applied in refused])
        return refused

    def keep_schema(self, part: str, schema: BackupSchema | None) -> None:
        """The same for schema.json alone."""
        if schema is not None:
            self._commit(part, [], 0, schema)

    def read_schema(self, token: str | None, entries: Sequence[rules.Entry]) -> BackupSchema | None:
        """schema.json as it is in place, before the run writes `entries`.

        `token`: its version as listed, None: there was none. None where it is another version now: then it
        is not replaced, or an earlier attempt of this run has replaced it.
        """
        written = md5_hex(rules.schema_bytes(entries))
        body: bytes | None = None
        if token is not None:
            self.counts.reads += 1
            try:
                body = self._portal.run(self._lightly.read(SCHEMA, version=token)).data
            except (Changed, NotFound) as error:
                if isinstance(error, NotFound) and not error.path:
                    raise
                return None
            if md5_hex(body) == written:
                return None
        self.counts.reads += 1
        inferred = self._state.read(self._state.inferred_key)
        return BackupSchema(encoded(body), written, encoded(inferred))

    def _commit(self, part: str, files: Sequence[PlanFile], rows: int, schema: BackupSchema | None) -> None:
        made = BackupPart(self._run_id, self._started, tuple(files), rows, schema)
        self._state.write(self._state.backup_key(self._run_id, f"{part}.json"), made.to_json())
        self.counts.puts += 1

    def _read_all(self, rows: Sequence[_Row]) -> list[Kept | Applied | None]:
        self.counts.reads += sum(row.action != Action.CREATE for row in rows)
        return self._portal.run(in_order(rows, self._read, most=_SLICE))

    async def _read(self, row: _Row) -> Kept | Applied | None:
        """A row of the backup; the outcome of a document that is left; None for one that is in place already
        as it is to be written. Where an earlier attempt at this plan did so, it has kept the old version."""
        nothing = Kept(row.target, row.action, None, None, None, None, False, row.md5)
        if row.action == Action.CREATE:
            return nothing
        try:
            blob = await read_whole(self._lightly, row.target, size=row.size, version=row.expect or None)
        except NotFound as error:
            if not error.path:
                raise
            return nothing
        except Changed:
            return await self._judge_changed(row)
        except StorageError as error:
            if error.scope is Scope.ALL:
                raise
            return nothing if error.code in NOTHING_THERE else _unreadable(row, error)
        md5 = md5_hex(blob.data)
        if md5 == row.md5:
            return None  # where a store has no versions, an earlier attempt may have written these
        return nothing._replace(body=blob.data, token=blob.token, md5=md5, size=len(blob.data), ours=row.ours)

    async def _judge_changed(self, row: _Row) -> Kept | Applied | None:
        self.counts.reads += 1
        try:
            data = (await read_whole(self._lightly, row.target)).data
        except NotFound as error:
            if not error.path:
                raise
            return Kept(row.target, row.action, None, None, None, None, False, row.md5)
        except StorageError as error:
            if error.scope is Scope.ALL:
                raise
            return _unreadable(row, error)
        if row.md5 is not None and md5_hex(data) == row.md5:
            return None
        return not_done(_step(row), Outcome.CONFLICT, Conflict(_CHANGED))

    def _leave_out(self, plan: Path, targets: Sequence[str]) -> None:
        """Rewrites the files of the plan without these documents."""
        self._database.run("CREATE OR REPLACE TEMP TABLE unkept (target VARCHAR)")
        self._database.insert("unkept", pa.table({"target": pa.array(targets, pa.string())}))
        for file in shard_files(plan):
            rows = f"FROM read_parquet({quote_text(str(file))}, hive_partitioning = false)"
            if not self._database.value(f"SELECT count(*) {rows} WHERE target IN (FROM unkept)"):
                continue
            left = file.with_suffix(".left")
            self._database.run(
                f"COPY (SELECT * {rows} WHERE target NOT IN (FROM unkept)) "
                f"TO {quote_text(str(left))} (FORMAT parquet, COMPRESSION zstd)"
            )
            left.replace(file)


def _slices(plan: Path, actions: frozenset[Action], shards: Collection[int] | None) -> Iterator[list[_Row]]:
    """The rows with these actions, some at a time."""
    part: list[_Row] = []
    octets = 0
    for row in _rows(plan, actions, shards):
        if part and (len(part) >= _SLICE or octets + row.size > _SLICE_BYTES):
            yield part
            part, octets = [], 0
        part.append(row)
        octets += row.size
    if part:
        yield part


def _rows(plan: Path, actions: Iterable[Action], shards: Collection[int] | None) -> Iterator[_Row]:
    wanted = pa.array(sorted(str(action) for action in actions), type=pa.string())
    for file in shard_files(plan, shards):
        with pq.ParquetFile(file) as parquet:
            there = set(parquet.schema_arrow.names)
            columns = [name for name in ("target", "action", "md5", "expect") if name in there]
            columns += [name for name in ("expect_size", "ours") if name in there]
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                chosen = batch.filter(pc.is_in(batch["action"], value_set=wanted))
                for row in chosen.to_pylist():
                    writes = row["action"] != Action.DELETE
                    yield _Row(
                        row["target"],
                        row["action"],
                        row["md5"] if writes else None,
                        row["expect"],
                        row.get("expect_size") or 0,
                        bool(row.get("ours")),
                    )


def _unreadable(row: _Row, error: StorageError) -> Applied:
    applied = not_done(_step(row), Outcome.FAILED, error)
    return applied._replace(message=_UNREADABLE + error.message, advice=applied.advice or _WITHOUT)


def _step(row: _Row) -> Step:
    return Step(row.target, Action(row.action), b"", row.md5 or "", row.expect)
