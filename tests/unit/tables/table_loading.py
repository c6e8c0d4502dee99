"""Loads tables as a run does: a sealed engine, a portal, real files through the storage contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from metaferry.job.sources import Source
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from metaferry.tables.load import Loaded, load_source
from metaferry.tables.macros import define_macros

REJECTS = (
    'CREATE TABLE rejects(source VARCHAR, file VARCHAR, "row" BIGINT, code VARCHAR, "column" VARCHAR, '
    "value VARCHAR, expected VARCHAR, message VARCHAR)"
)

FINDINGS = (
    "CREATE TABLE findings(code VARCHAR, severity VARCHAR, message VARCHAR, advice VARCHAR, source VARCHAR, "
    'file VARCHAR, "row" BIGINT, media VARCHAR, target VARCHAR)'
)


def sealed() -> duckdb.DuckDBPyConnection:
    """An engine with the settings of the planner's."""
    con = duckdb.connect()
    for statement in (
        "SET TimeZone = 'UTC'",
        "SET preserve_insertion_order = false",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
        REJECTS,
        FINDINGS,
    ):
        con.execute(statement).fetchall()
    define_macros(con)
    return con


def left_in(con: duckdb.DuckDBPyConnection) -> set[str]:
    """The tables of an engine."""
    return {name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}


@dataclass(slots=True)
class Result:
    """A loaded source with its rows."""

    loaded: Loaded
    con: duckdb.DuckDBPyConnection
    progress: int

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows by file and row; the key columns under their dotted paths."""
        names = {key.column: ".".join(key.path) for key in self.loaded.keys}
        # Python has no value for an instant without a package that nothing else needs.
        instants = [key.column for key in self.loaded.keys if key.type == "TIMESTAMP WITH TIME ZONE"]
        plain = ", ".join(f"{column}::VARCHAR AS {column}" for column in instants)
        columns_sql = f"* REPLACE ({plain})" if plain else "*"
        cursor = self.con.execute(f'SELECT {columns_sql} FROM {self.loaded.table} ORDER BY file, "row"')
        columns = [names.get(item[0], item[0]) for item in cursor.description or ()]
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
        for row in rows:
            row.pop("rowid", None)  # a view shows what a table does not
        return rows

    def values(self, key: str) -> list[Any]:
        return [row[key] for row in self.rows]

    @property
    def types(self) -> dict[str, str]:
        return {".".join(key.path): key.type for key in self.loaded.keys}

    @property
    def rejects(self) -> list[tuple[int, str]]:
        """Row and message of each malformed row."""
        return self.con.execute('SELECT "row", message FROM rejects ORDER BY file, "row"').fetchall()

    @property
    def findings(self) -> list[tuple[str, int | None, str]]:
        """Code, row and message of each finding."""
        return self.con.execute('SELECT code, "row", message FROM findings ORDER BY ALL').fetchall()


@contextmanager
def storages(portal: Portal) -> Iterator[Any]:
    opened: list[Storage] = []

    def storage_for(url: str, options: Mapping[str, Any]) -> Storage:
        opened.append(open_storage(url, options, retry_for=5))
        return opened[-1]

    try:
        yield storage_for
    finally:
        for storage in opened:
            portal.run(storage.close())


def load(
    table: str | Path,
    *,
    con: duckdb.DuckDBPyConnection | None = None,
    progress: Callable[[int], None] = lambda rows: None,
    **more: Any,
) -> Result:
    """Loads one source; `more` are its other fields, as a job file has them."""
    source = Source.model_validate({"table": {"url": str(table)}, **more})
    engine = con if con is not None else sealed()
    told: list[int] = []

    def tell(rows: int) -> None:
        told.append(rows)
        progress(rows)

    with Portal() as portal, storages(portal) as storage_for:
        loaded = load_source(engine, source, index=0, storage_for=storage_for, portal=portal, progress=tell)
    return Result(loaded, engine, sum(told))
