"""What is found in the tables of a job, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DescribedColumn:
    """A column: its name, the engine's type, and what it holds ("" where only its owner knows)."""

    name: str
    type: str
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class DescribedRelation:
    """A relation by its name in FROM: what one row is, how many were seen and how many of them are none, and
    the first rows in the order of `columns`, values as text, at most 60 characters each.

    `whole`: all rows were seen; otherwise there are more.
    """

    name: str
    meaning: str
    columns: tuple[DescribedColumn, ...]
    rows: int
    malformed: int
    first: tuple[tuple[str | None, ...], ...]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class DescribedTable:
    """A table of a job, a source of it, or a file: where it is, which reader knows it ("" for a plain table),
    its relations, and a query to start from. `frame_base`: what frames are counted from. `rejects` names the
    first rows that are none, `notes` what the reader noticed of its files."""

    key: str
    url: str
    reader: str
    title: str
    relations: tuple[DescribedRelation, ...]
    query: str
    frame_base: int = 0
    rejects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribedTables:
    """All of them, in the order of the job."""

    tables: tuple[DescribedTable, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"tables": [asdict(table) for table in self.tables]}
