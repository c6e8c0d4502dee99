"""Which documents need not be read: their bytes are known, and so are the entries that they were made for."""

from __future__ import annotations

from metaferry.errors import StorageError
from metaferry.lightly.schema import Entry
from metaferry.planning.build import Decided
from metaferry.planning.database import Database
from metaferry.planning.sql.rules import quote_text
from metaferry.runs.state.ledger import Ledger, digest_of
from metaferry.view.check.found import CheckReport


def mark_proved(
    database: Database,
    ledger: Ledger,
    entries: tuple[Entry, ...] | None,
    report: CheckReport,
    *,
    plan: Decided | None,
) -> None:
    """Table `proved(target)`: what a sync would keep, and what the ledger knows by the token that is listed.

    A sync that keeps a document has proved its bytes, which it made for the entries of its plan. A row of the
    ledger counts if the entries that it was made for are those in place: an entry that was edited since may
    not fit the document.
    """
    database.run("CREATE TABLE proved(target VARCHAR)")
    if entries is None:
        return
    if plan is not None and not plan.entries.changed:
        database.run("INSERT INTO proved SELECT target FROM decided WHERE action = 'keep'")
    if not database.value("SELECT count(*) FROM documents WHERE target NOT IN (SELECT target FROM proved)"):
        return
    try:
        if not ledger.listed:
            ledger.load()
    except StorageError as error:
        report.notes.append(f"the state folder cannot be read, so all documents are: {error.message}")
        return
    database.run(
        f"""
        INSERT INTO proved
        SELECT d.target FROM documents d JOIN ledger l ON l.target = d.target AND l.token = d.token
        WHERE l.entries = {quote_text(digest_of(entries))} AND d.target NOT IN (SELECT target FROM proved)
        """
    )
