"""Reads a file with a reader as a run does: through the storage contract, into batches."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaferry.job.readers.annotations import Annotations
from metaferry.storage.io.portal import Portal
from metaferry.tables.readers.contract import Given, Opened, Reader
from metaferry.tables.readers.files import reader_files
from unit.tables.table_loading import storages


@dataclass(slots=True)
class Read:
    """The rows of each relation, places under "@"; and the rejects as (relation, place, message)."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rejects: list[tuple[str, int, str]] = field(default_factory=list)


@contextmanager
def opened(reader: Reader, url: str | Path, **more: Any) -> Iterator[Opened]:
    """A source, open."""
    value = Annotations(url=str(url), **more)
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
    reader: Reader, url: str | Path, relations: Collection[str] = (), columns: Collection[str] | None = None
) -> Read:
    """All rows of the relations (default: all), of these columns (default: all)."""
    found = Read()
    named = None if columns is None else frozenset(columns)
    with opened(reader, url) as source:
        wanted = {one.name: named for one in source.relations if one.name in (relations or reader.relations)}
        found.rows = {name: [] for name in wanted}

        def reject(relation: str, place: int, message: str, **more: Any) -> None:
            found.rejects.append((relation, place, message))

        for rows in source.read(wanted, reject):
            places = rows.places.to_pylist()
            for place, row in zip(places, rows.batch.to_pylist(), strict=True):
                found.rows[rows.relation].append({"@": place, **row})
    return found
