"""Reads a file with a reader as a run does: through the storage contract, into batches."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaferry.job.readers.annotations import Annotations
from metaferry.job.readers.telemetry import Telemetry
from metaferry.storage.io.portal import Portal
from metaferry.tables.readers.contract import Given, Note, Opened, Reader
from metaferry.tables.readers.files import reader_files
from metaferry.tables.readers.testing import without_times
from unit.tables.table_loading import storages


@dataclass(slots=True)
class Read:
    """The rows of each relation, places under "@" and nanoseconds as whole numbers; the rejects as (relation,
    place, message), and what was noticed."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rejects: list[tuple[str, int, str]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def samples(self) -> list[dict[str, Any]]:
        """The rows of the one relation, without columns that are null."""
        (rows,) = self.rows.values()
        return [{key: value for key, value in row.items() if value is not None} for row in rows]


@contextmanager
def opened(reader: Reader, url: str | Path, **more: Any) -> Iterator[Opened]:
    """A source, open."""
    model = Telemetry if reader.key == "telemetry" else Annotations
    value = model(url=str(url), **more)
    with Portal() as portal, storages(portal) as storage_for:
        files, _ = reader_files(
            value,
            place="tables.t.annotations",
            storage_for=storage_for,
            portal=portal,
            allow_none=False,
            progress=lambda rows: None,
        )
        yield reader.open(Given(value, files, "tables.t.annotations"))


def read(
    reader: Reader,
    url: str | Path,
    relations: Collection[str] = (),
    columns: Collection[str] | None = None,
    **more: Any,
) -> Read:
    """All rows of the relations (default: all), of these columns (default: all)."""
    found = Read()
    named = None if columns is None else frozenset(columns)
    with opened(reader, url, **more) as source:
        wanted = {one.name: named for one in source.relations if one.name in (relations or reader.relations)}
        found.rows = {name: [] for name in wanted}

        def reject(relation: str, place: int, message: str, **more: Any) -> None:
            found.rejects.append((relation, place, message))

        for rows in source.read(wanted, reject):
            places = rows.places.to_pylist()
            for place, row in zip(places, without_times(rows.batch).to_pylist(), strict=True):
                found.rows[rows.relation].append({"@": place, **row})
        found.notes = list(getattr(source, "notes", ()))
    return found
