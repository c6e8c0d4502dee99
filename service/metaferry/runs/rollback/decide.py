"""What a rollback does with each document: the run's backup against what is in place.

A document is what the run left when its bytes are (MD5) those that the run wrote, or when it is gone and
the run deleted it. Its token is the precondition of what is written then. The table `rolled` has one row
a document; the files of a plan are made from it, for the code that applies every plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from metaferry.apply.outage import Outage as OutageDetector
from metaferry.apply.outage import cause_of
from metaferry.errors import MetaferryError, Outage, StorageError
from metaferry.findings import Code
from metaferry.lightly.document import md5_hex
from metaferry.lightly.names import DOCUMENTS, SCHEMA
from metaferry.planning.database import Database
from metaferry.planning.formats import Action, Example
from metaferry.planning.sql.rules import quote_text
from metaferry.progress import Progress
from metaferry.runs.in_place import blob_in_place
from metaferry.storage.io.concurrent import in_order
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Blob, Storage

#: What becomes of a document, as `RollbackCounts` names it.
STEPS: Final = ("restore", "recreate", "remove", "unchanged", "conflict", "failed")
#: A slice of documents that are read: so many, and so many bytes, unless one has more.
_SLICE: Final = 512
_SLICE_BYTES: Final = 16_000_000
_EXAMPLES: Final = 5
_CURRENT: Final = pa.schema([(name, pa.string()) for name in ("target", "token", "md5", "error")])

_WHY: Final = {
    "restore": "replaced by the run",
    "recreate": "deleted by the run",
    "remove": "created by the run",
    "unchanged": "as it was before the run",
}


def load_backup(database: Database, files: Sequence[Path]) -> None:
    """Table `kept`: one row a document of the backup, of which `piece` has the old version, if any.

    A shard that was tried again has kept some documents twice; the first time was before the run wrote
    them. MetaferryError for a backup with names that are no documents.
    """
    database.run(
        "CREATE TABLE every_kept (target VARCHAR, action VARCHAR, old BOOLEAN, md5 VARCHAR, size BIGINT, "
        "ours BOOLEAN, written VARCHAR, piece INTEGER)"
    )
    for number, file in enumerate(files):
        database.run(
            f"INSERT INTO every_kept SELECT target, action, body IS NOT NULL, md5, size, ours, written, "
            f"{number} FROM read_parquet({quote_text(str(file))})"
        )
    database.run(
        """
        CREATE TABLE kept AS
        SELECT *, row_number() OVER (ORDER BY target) - 1 AS n FROM (
            SELECT * FROM every_kept
            QUALIFY row_number() OVER (PARTITION BY target ORDER BY NOT old, piece) = 1
        )
        """
    )
    strange: int = database.value(
        f"SELECT count(*) FROM kept WHERE NOT starts_with(target, {quote_text(DOCUMENTS)}) "
        f"OR target = {quote_text(SCHEMA)} OR list_has_any(string_split(target, '/'), ['', '.', '..'])"
    )
    if strange:
        raise MetaferryError(
            f"this backup names {strange:,} files that are no documents; it is not used",
            advice="see who else writes to the state folder",
        )


def read_current(database: Database, storage: Storage, portal: Portal, progress: Progress) -> None:
    """Table `current`: token and MD5 of each document of the backup as it is now; null where it is not
    there. Raises the StorageError that concerns every document, and Outage where too many in a row cannot be
    read for one reason."""
    outage = OutageDetector()
    database.create_like("current", _CURRENT)
    progress.phase("Reading documents in place", database.value("SELECT count(*) FROM kept"))
    for targets in _slices(database):
        rows = portal.run(in_order(targets, lambda target: _read(storage, target), most=_SLICE))
        for *_, error in rows:
            if error is None:
                outage.written()
            else:
                outage.failed(cause_of(error))
        if outage.reason:
            raise Outage(storage.url, outage.reason)
        named = ((*row, error and error.message) for *row, error in rows)
        database.insert_rows("current", _CURRENT, named)
        progress.advance(len(targets))


async def _read(storage: Storage, target: str) -> tuple[str, str | None, str | None, StorageError | None]:
    found = await blob_in_place(storage, target)
    if isinstance(found, Blob):
        return target, found.token, md5_hex(found.data), None
    return target, None, None, found


def decide_steps(database: Database) -> None:
    """Table `rolled(target, step, why, expect, old, md5, size, ours, piece)` from `kept` and `current`."""
    database.run(
        f"""
        CREATE TABLE rolled AS
        SELECT target, step, expect, old, md5, size, ours, piece,
               CASE step {" ".join(f"WHEN '{step}' THEN '{why}'" for step, why in _WHY.items())}
                    WHEN 'failed' THEN error
                    WHEN 'conflict' THEN CASE WHEN expect IS NULL THEN 'deleted since the run'
                                              ELSE 'changed since the run' END END AS why
        FROM (
            SELECT k.target, c.token AS expect, k.old, k.md5, k.size, k.ours, k.piece, c.error,
                   CASE WHEN c.error IS NOT NULL THEN 'failed'
                        WHEN k.old AND c.md5 = k.md5 THEN 'unchanged'
                        WHEN k.old AND c.md5 IS NULL AND k.action = '{Action.DELETE}' THEN 'recreate'
                        WHEN k.old AND c.md5 = k.written THEN 'restore'
                        WHEN NOT k.old AND c.md5 IS NULL THEN 'unchanged'
                        WHEN NOT k.old AND c.md5 = k.written THEN 'remove'
                        ELSE 'conflict' END AS step
            FROM kept k JOIN current c ON c.target = k.target
        )
        """
    )


def name_actions(database: Database) -> None:
    """View `to_write(target, action)`: the documents that change, with the actions of a plan."""
    database.run(
        f"""
        CREATE VIEW to_write AS
        SELECT target, CASE step WHEN 'restore' THEN '{Action.UPDATE}' WHEN 'recreate' THEN '{Action.CREATE}'
                            ELSE '{Action.DELETE}' END AS action
        FROM rolled WHERE step IN ('restore', 'recreate', 'remove')
        """
    )


def count_steps(database: Database) -> dict[str, int]:
    """Documents by step."""
    return dict(database.rows("SELECT step, count(*) FROM rolled GROUP BY step"))


def example_steps(database: Database) -> dict[str, list[Example]]:
    """The first few documents of each step that changes one."""
    found: dict[str, list[Example]] = {}
    for step in ("restore", "recreate", "remove"):
        rows = database.rows(
            f"SELECT target, why FROM rolled WHERE step = '{step}' ORDER BY target LIMIT {_EXAMPLES}"
        )
        if rows:
            found[step] = [Example(target, why) for target, why in rows]
    return found


def find_conflicts(database: Database) -> None:
    """Findings of the documents that are not touched."""
    database.run(
        f"""
        INSERT INTO findings
        SELECT CASE step WHEN 'failed' THEN '{Code.DOCUMENT_FAILED}' ELSE '{Code.DOCUMENT_CONFLICT}' END,
               'error', CASE step WHEN 'failed' THEN why ELSE why || '; left as it is' END,
               CASE step WHEN 'failed' THEN 'see why it cannot be read, and run it again'
                         ELSE 'if a later run wrote it, roll that one back first' END,
               '', '', NULL, '', target
        FROM rolled WHERE step IN ('conflict', 'failed')
        """
    )


def write_plan_files(database: Database, files: Sequence[Path], plan: Path) -> None:
    """The files of a plan: a shard for each piece with old versions to write, one for the documents to
    delete."""

    def copy(shard: int, select: str) -> None:
        folder = plan / f"shard={shard:03d}"
        folder.mkdir(parents=True)
        target = quote_text(str(folder / "data_0.parquet"))
        database.run(f"COPY ({select}) TO {target} (FORMAT parquet, COMPRESSION zstd)")

    writing = database.rows(
        "SELECT DISTINCT piece FROM rolled WHERE step IN ('restore', 'recreate') ORDER BY piece"
    )
    for (piece,) in writing:
        copy(
            piece,
            f"""
            SELECT r.target, CASE r.step WHEN 'restore' THEN '{Action.UPDATE}' ELSE '{Action.CREATE}' END
                   AS action, p.body, r.md5, r.expect
            FROM read_parquet({quote_text(str(files[piece]))}) p JOIN rolled r ON r.target = p.target
            WHERE r.piece = {piece} AND r.step IN ('restore', 'recreate')
            """,
        )
    copy(
        len(files),
        f"SELECT target, '{Action.DELETE}' AS action, NULL::BLOB AS body, NULL::VARCHAR AS md5, expect "
        "FROM rolled WHERE step = 'remove'",
    )


def _slices(database: Database) -> Iterator[list[str]]:
    start, total = 0, database.value("SELECT count(*) FROM kept")
    while start < total:
        part: list[str] = []
        octets = 0
        for target, size in database.rows(
            "SELECT target, coalesce(size, 0) FROM kept WHERE n >= ? AND n < ? ORDER BY n",
            [start, start + _SLICE],
        ):
            if part and octets + size > _SLICE_BYTES:
                break
            part.append(target)
            octets += size
        start += len(part)
        yield part
