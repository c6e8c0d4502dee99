"""Whether symbolic links would lead what a run writes out of a local datasource: asked of the whole plan.

The storage refuses each such write itself; this says so before the first one, and in a plan.
"""

from __future__ import annotations

from metaferry.errors import UsageError
from metaferry.lightly.names import SCHEMA
from metaferry.planning.database import Database
from metaferry.storage.local.adapter import LocalAdapter
from metaferry.storage.protocol import Storage
from metaferry.storage.retry.storage import Retrying


def refuse_links(database: Database, lightly: Storage) -> None:
    """UsageError where a folder that is to be written to is reached by a link. Looks at local ones alone."""
    adapter = lightly.adapter if isinstance(lightly, Retrying) else None
    if not isinstance(adapter, LocalAdapter):
        return
    folders = database.rows(
        "SELECT DISTINCT regexp_extract(target, '^(.*)/', 1) AS folder FROM decided "
        "WHERE action IN ('create', 'update', 'delete') ORDER BY folder"
    )
    for folder in (SCHEMA.rpartition("/")[0], *(folder for (folder,) in folders)):
        refused = adapter.link_out(folder)
        if refused is not None:
            raise UsageError(refused.message, advice=refused.advice)
