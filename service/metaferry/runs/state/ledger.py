"""The ledger: token and md5 of every document as our runs left it, as Parquet pieces in the state folder.

It proves content where a listing does not: same token, so the md5 is known. A document without a row,
or with another token, is written again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from metaferry.errors import NotFound
from metaferry.lightly.document import md5_hex
from metaferry.lightly.schema import Entry, schema_bytes
from metaferry.planning.database import Database
from metaferry.planning.formats import LEDGER_COLUMNS, VERSION, ddl
from metaferry.planning.sql.rules import quote_text
from metaferry.runs.state.folder import State

log = logging.getLogger(__name__)

#: Rows of a piece, about: it is in memory as a whole when it is written and read.
PIECE_ROWS = 1_000_000


class Ledger:
    """The ledger of one run: an empty table `ledger` until `load` is called."""

    def __init__(self, database: Database, state: State) -> None:
        self._database = database
        self._state = state
        self._pieces: list[str] | None = None
        self._entries: str | None = None
        database.run(ddl("ledger", LEDGER_COLUMNS))

    def load(self) -> None:
        """Fills the table from the pieces, newest row of each document first. Damage is a loss."""
        self._pieces = self._state.ledger_pieces()
        for number, key in enumerate(self._pieces):
            file = self._database.scratch / f"ledger-{number}.parquet"
            try:
                file.write_bytes(self._state.read_piece(key))
                self._take(file)
            except NotFound:
                log.debug("the ledger's piece %s is gone: replaced by another run", key)
            except duckdb.Error as error:
                log.warning(
                    "%s is damaged or of a newer version: what it proved is written again (%s)",
                    self._state.url_of(key),
                    str(error).splitlines()[0],
                )
            finally:
                file.unlink(missing_ok=True)

    def made_for(self, entries: Sequence[Entry]) -> None:
        """The entries that the documents of this run are made for, to be kept with them."""
        self._entries = digest_of(entries)

    @property
    def listed(self) -> bool:
        """Whether its pieces were listed."""
        return self._pieces is not None

    def save(self, run_id: str) -> None:
        """Adds what this run did (table `outcomes`); now and then writes one whole ledger instead."""
        if not self._database.value("SELECT count(*) FROM outcomes WHERE outcome = 'done'"):
            return
        entries = "NULL" if self._entries is None else quote_text(self._entries)
        ours = (
            f"SELECT target, token, md5, {entries}::VARCHAR AS entries FROM outcomes WHERE outcome = 'done'"
        )
        replaces: list[str] = []
        pieces = self._pieces if self._pieces is not None else self._state.ledger_pieces()
        if self._state.wants_whole(pieces):
            if self._pieces is None:
                self.load()
            replaces = pieces
            ours = (
                f"SELECT target, token, md5, entries FROM ({ours}) WHERE token IS NOT NULL UNION ALL "
                "SELECT target, token, md5, entries FROM ledger WHERE token IS NOT NULL "
                "AND target NOT IN (SELECT target FROM outcomes WHERE outcome = 'done')"
            )
        rows: int = self._database.value(f"SELECT count(*) FROM ({ours})")
        count = max(1, -(-rows // PIECE_ROWS))
        for part in range(count):
            mine = f"('0x' || left(md5(target), 8))::UBIGINT % {count} = {part}"
            some = ours if count == 1 else f"SELECT * FROM ({ours}) WHERE {mine}"
            self._state.write_ledger(run_id, export_parquet(self._database, some, "ledger-new"), part=part)
        self._state.delete(replaces)

    def _take(self, file: Path) -> None:
        relation = f"read_parquet({quote_text(str(file))})"
        version = self._database.rows(
            f"SELECT value::VARCHAR FROM parquet_kv_metadata({quote_text(str(file))}) "
            "WHERE key::VARCHAR = 'metaferry_version'"
        )
        if version != [(str(VERSION),)]:
            raise duckdb.InvalidInputException(f"version {version} of the format")
        self._database.run(f"DELETE FROM ledger WHERE target IN (SELECT target FROM {relation})")
        # Those of earlier versions have no `entries`.
        columns = {name for name, *_ in self._database.rows(f"DESCRIBE SELECT * FROM {relation}")}
        entries = "entries" if "entries" in columns else "NULL"
        self._database.run(f"INSERT INTO ledger SELECT target, token, md5, {entries} FROM {relation}")


def digest_of(entries: Sequence[Entry]) -> str:
    """What tells entries apart, however their schema.json is laid out."""
    return md5_hex(schema_bytes(entries))


def export_parquet(
    database: Database, query: str, name: str, metadata: Mapping[str, str] | None = None
) -> bytes:
    """The rows of a query as one Parquet file of ours (version in its metadata, and `metadata`)."""
    file = database.scratch / f"{name}.parquet"
    about = {"metaferry_version": str(VERSION), **(metadata or {})}
    pairs = ", ".join(f"{key}: {quote_text(text)}" for key, text in about.items())
    try:
        database.run(
            f"COPY ({query}) TO {quote_text(str(file))} "
            f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{pairs}}})"
        )
        return file.read_bytes()
    finally:
        file.unlink(missing_ok=True)
