"""The findings of a check as a Parquet file, on any file system."""

from __future__ import annotations

from os import PathLike

from metaferry.errors import UsageError
from metaferry.planning.database import disk_errors
from metaferry.runs.state.ledger import export_parquet
from metaferry.view.check.check import Check
from metaferry.view.check.found import ORDER, SELECTED, TABLE
from metaferry.view.export.write import Out, out_of, put_made


def place_of(out: str | PathLike[str]) -> Out:
    """Raises UsageError for a name that does not end in .parquet, and a local folder that is not there."""
    place = out_of(out)
    if place.format.format != "parquet":
        raise UsageError(f"{place.shown}: findings are written as Parquet", advice="name a file .parquet")
    return place


def write_findings(checked: Check, place: Out) -> None:
    """Writes all findings, by code and key. Raises StorageError, and UsageError for a full disk."""
    database = checked.database
    rows = f"SELECT {SELECTED} FROM {TABLE} ORDER BY {ORDER}"
    with disk_errors(database.scratch):
        data = export_parquet(database, rows, "check-findings")
    made = database.scratch / "findings"
    made.write_bytes(data)
    put_made(made, place, checked.job, checked.storages)
    made.unlink()
    checked.report.out = place.shown
