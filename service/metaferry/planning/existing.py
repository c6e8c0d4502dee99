"""Checks documents in place that are not in the ledger, before they are replaced or deleted, for lost keys.

They may have been written externally, and then have keys that no table gives. So a sample of those whose
bytes would change is read. Documents of ours whose ledger was lost, or that a killed run left, have only
keys of the tables, and pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import pyarrow as pa

from metaferry.errors import StorageError
from metaferry.findings import Code
from metaferry.lightly.document import md5_hex
from metaferry.lightly.document_keys import GivenKeys, KeyPath
from metaferry.planning.database import Database
from metaferry.planning.formats import FINDING_COLUMNS, Action

#: Documents that are read at most, chosen by the hash of their keys: the same in every run.
MOST_READ: Final = 10_000
#: Bytes of a document beyond which it is not read.
LARGEST: Final = 32_000_000
#: Rows of the sample that are in memory at once.
_ROWS: Final = 1_000
#: Keys that a message names.
_NAMED: Final = 10

_FINDINGS: Final = pa.schema(
    [(name, pa.int64() if kind == "BIGINT" else pa.string()) for name, kind in FINDING_COLUMNS.items()]
)

#: Takes target and size of documents. Gives target and bytes of each, in order; None for one that is
#: gone, and the error of one that cannot be read.
ReadDocuments = Callable[[Iterable[tuple[str, int]]], Iterable[tuple[str, bytes | StorageError | None]]]

_CONCERNED: Final = f"unknown AND action IN ('{Action.UPDATE}', '{Action.DELETE}')"
_ADVICE: Final = (
    "bring these keys into a table, or keep them as they are: `metaferry export JOB --as-written -o "
    "others.parquet`, and make the source in others.parquet.job.yaml the first of the job; or give them up: "
    "--set policy.existing=replace"
)


def check_existing(
    database: Database, keys: Iterable[KeyPath], *, stop: bool, read: ReadDocuments
) -> tuple[str, str]:
    """Reads the table `decided`, adds findings, and returns why the plan may not be applied, and what
    to do about it; two empty texts where it may.

    Without `stop` nothing is read: the documents are counted.
    """
    total: int = database.value(f"SELECT count(*) FROM decided WHERE {_CONCERNED}")
    if not total:
        return "", ""
    if not stop:
        _count(
            database,
            f"{_documents(total)} that no run is known to have written: to be replaced or deleted unread, "
            "as policy.existing: replace says",
        )
        return "", ""
    looked = _Look(database, GivenKeys(keys), read)
    sample = f"; {looked.read:,} of {total:,} were read" if looked.read < total else ""
    if looked.differing:
        _count(
            database,
            f"{_documents(looked.differing)} that no run is known to have written: to be replaced or "
            f"deleted; other values, but no keys that the tables do not give{sample}",
        )
    elif sample:
        _count(database, f"{_documents(total)} that no run is known to have written{sample}")
    if not looked.losing:
        return "", ""
    named = ", ".join(f"{key} ({count:,})" for key, count in looked.keys.most_common(_NAMED))
    more = f" and {len(looked.keys) - _NAMED:,} more" if len(looked.keys) > _NAMED else ""
    return (
        f"{_documents(looked.losing)} that no run is known to have written "
        f"{'has' if looked.losing == 1 else 'have'} keys that no table gives, which would be lost: "
        f"{named}{more}{sample}",
        _ADVICE,
    )


class _Look:
    """What was found in the documents that were read."""

    def __init__(self, database: Database, given: GivenKeys, read: ReadDocuments) -> None:
        self._database = database
        self._given = given
        self.read = self.differing = self.losing = 0
        self.keys: Counter[str] = Counter()
        database.run(
            f"""
            CREATE OR REPLACE TEMP TABLE looked AS
            SELECT row_number() OVER (ORDER BY md5(target)) - 1 AS n, target, p.md5, d.size
            FROM decided p JOIN documents d USING (target)
            WHERE {_CONCERNED} QUALIFY n < {MOST_READ}
            """
        )
        database.insert_rows("findings", _FINDINGS, self._findings(read))

    def _findings(self, read: ReadDocuments) -> Iterator[Sequence[object]]:
        """Looks at each document, counts it, and gives a finding for each with keys of its own."""
        md5s: dict[str, str | None] = {}
        large: list[tuple[str, int]] = []
        for target, data in read(self._readable(md5s, large)):
            self.read += 1
            md5 = md5s.pop(target)
            if isinstance(data, StorageError):
                yield self._lose(target, [f"(cannot be read: {data.message})"])
            elif data is not None and md5_hex(data) != md5:
                lost = self._given.lost(data)
                if lost is None and not self._is_a_part_of_ours(target, data):
                    yield self._lose(target, ["(no JSON object)"])
                elif lost:
                    yield self._lose(target, lost)
                else:
                    self.differing += 1
        for target, size in large:
            self.read += 1
            yield self._lose(target, [f"(too large to be read: {size:,} bytes)"])

    def _readable(
        self, md5s: dict[str, str | None], large: list[tuple[str, int]]
    ) -> Iterator[tuple[str, int]]:
        """Target and size of each document to be read; what is planned for it goes to `md5s`."""
        total: int = self._database.value("SELECT count(*) FROM looked")
        for start in range(0, total, _ROWS):
            for target, md5, size in self._database.rows(
                "SELECT target, md5, size FROM looked WHERE n >= ? AND n < ? ORDER BY n",
                [start, start + _ROWS],
            ):
                if size > LARGEST:
                    large.append((target, size))
                else:
                    md5s[target] = md5
                    yield target, size

    def _is_a_part_of_ours(self, target: str, data: bytes) -> bool:
        """Where a store cannot write at once, a run that was killed leaves the beginning of a document."""
        rows = self._database.rows("SELECT body FROM wanted WHERE target = ?", [target])
        return bool(rows) and rows[0][0].encode().startswith(data)

    def _lose(self, target: str, keys: Sequence[str]) -> Sequence[object]:
        self.losing += 1
        self.keys.update(keys)
        named = ", ".join(keys[:_NAMED]) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
        message = f"no run is known to have written it, and no table gives what would be lost: {named}"
        finding = {
            "code": str(Code.DOCUMENT_UNSOURCED),
            "severity": "error",
            "message": message,
            "advice": _ADVICE,
            "target": target,
        }
        return [finding.get(name, None if name == "row" else "") for name in FINDING_COLUMNS]


def _count(database: Database, message: str) -> None:
    database.finding(
        Code.DOCUMENT_EXISTING,
        "warning",
        message,
        advice="keep what should last in the tables: documents are made from them",
    )


def _documents(count: int) -> str:
    return f"{count:,} document{'' if count == 1 else 's'} in place"
