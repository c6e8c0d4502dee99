"""Checks a whole plan for symbolic links that would lead a write out of a local datasource.

The storage refuses each such write; this fails before the first one, and in a plan.
"""

from __future__ import annotations

from metaferry.errors import UsageError
from metaferry.lightly.names import SCHEMA
from metaferry.planning.database import Database
from metaferry.planning.sql.rules import quote_ident
from metaferry.storage.local.adapter import LocalAdapter
from metaferry.storage.protocol import Storage
from metaferry.storage.retry.storage import Retrying


def refuse_links(database: Database, lightly: Storage, *, table: str = "decided") -> None:
    """UsageError where a folder to be written is reached by a link. Checks local datasources only.

    `table` has the targets of a plan with their actions.
    """
    adapter = lightly.adapter if isinstance(lightly, Retrying) else None
    if not isinstance(adapter, LocalAdapter):
        return
    folders = database.rows(
        f"SELECT DISTINCT regexp_extract(target, '^(.*)/', 1) AS folder FROM {quote_ident(table)} "
        "WHERE action IN ('create', 'update', 'delete') ORDER BY folder"
    )
    for folder in (SCHEMA.rpartition("/")[0], *(folder for (folder,) in folders)):
        refused = adapter.link_out(folder)
        if refused is not None:
            raise UsageError(refused.message, advice=refused.advice)
