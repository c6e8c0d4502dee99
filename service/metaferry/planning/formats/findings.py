"""The rows of findings, rejects, the ledger and damaged documents: columns as DuckDB types, in order."""

from __future__ import annotations

from typing import Final

from metaferry.tables.telemetry.account import COLUMNS, TABLE

REJECT_COLUMNS: Final = {
    "source": "VARCHAR",
    "file": "VARCHAR",
    "row": "BIGINT",
    "code": "VARCHAR",
    "column": "VARCHAR",
    "value": "VARCHAR",
    "expected": "VARCHAR",
    "message": "VARCHAR",
}

FINDING_COLUMNS: Final = {
    "code": "VARCHAR",
    "severity": "VARCHAR",
    "message": "VARCHAR",
    "advice": "VARCHAR",
    "source": "VARCHAR",
    "file": "VARCHAR",
    "row": "BIGINT",
    "media": "VARCHAR",
    "target": "VARCHAR",
}

#: What a run left behind: a row a document; `token` null says "we deleted it". `entries` is the digest of the
#: schema entries that the document was made for, null where a run did not keep it.
LEDGER_COLUMNS: Final = {"target": "VARCHAR", "token": "VARCHAR", "md5": "VARCHAR", "entries": "VARCHAR"}

#: Documents that an earlier run read back as other bytes than it had written.
DAMAGE_COLUMNS: Final = {"target": "VARCHAR"}


#: The videos that samples were joined to: a row a video of each source.
JOINED_VIDEOS: Final = TABLE
JOINED_COLUMNS: Final = dict(COLUMNS)


def ddl(table: str, columns: dict[str, str]) -> str:
    """`CREATE TABLE` for one of the formats above."""
    fields = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    return f"CREATE TABLE {table} ({fields})"
