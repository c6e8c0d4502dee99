"""What the backup of a planned run costs, before it is made."""

from __future__ import annotations

from metaferry.planning.database import Database
from metaferry.planning.formats import BackupCounts
from metaferry.runs.backup.pieces import PIECE_BYTES, ROW_BYTES


def planned_backup(database: Database, *, schema_changes: bool, schema_in_place: bool) -> BackupCounts:
    """Old versions that the plan (table `decided`) replaces or deletes, and the requests to keep them: a read
    for each, a put for each piece and one for what names the pieces. Nothing for a plan without changes."""
    documents, octets, rows, weight = database.row(
        f"""
        SELECT count(*) FILTER (action <> 'create'),
               coalesce(sum(expect_size) FILTER (action <> 'create'), 0)::BIGINT, count(*),
               coalesce(sum({ROW_BYTES} + strlen(target)
                            + CASE action WHEN 'create' THEN 0 ELSE expect_size END), 0)::BIGINT
        FROM decided WHERE action IN ('create', 'update', 'delete')
        """
    )
    if not rows and not schema_changes:
        return BackupCounts()
    # schema.json, and the record of the entries that runs inferred.
    reads = documents + (1 + schema_in_place if schema_changes else 0)
    return BackupCounts(documents, octets, reads, -(-weight // PIECE_BYTES) + 1)
