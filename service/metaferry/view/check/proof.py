"""Which documents need not be read: their bytes are known, and so are the entries that they were made for."""

from __future__ import annotations

from metaferry.lightly.schema import Entry
from metaferry.planning.build import Decided
from metaferry.planning.database import Database
from metaferry.runs.state.ledger import Ledger


def mark_proved(
    database: Database, ledger: Ledger, entries: tuple[Entry, ...] | None, *, plan: Decided | None
) -> None:
    """Table `proved(target)`.

    A sync that keeps a document has proved its bytes, which it made for the entries of its plan.
    """
    database.run("CREATE TABLE proved(target VARCHAR)")
    if plan is not None and entries is not None and not plan.entries.changed:
        database.run("INSERT INTO proved SELECT target FROM decided WHERE action = 'keep'")
