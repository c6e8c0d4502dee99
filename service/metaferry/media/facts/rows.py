"""Facts of many files as tables of Arrow: what is handed on, and what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from metaferry.media.facts.model import TEXT, WHOLE, FactsKind, FileFacts, KeptFacts

#: The position of a file in its batch, before the columns that are kept.
AT: Final = "at"
#: Why nothing could be read of a file, and what is damaged in one that could; null for nothing.
REASON: Final = "reason"
PROBLEM: Final = "problem"


def kept_schema(kind: KeptFacts) -> pa.Schema:
    """Path, size and token of a file, reason and problem, and its facts; null where unknown."""
    known = [("path", TEXT), ("size", WHOLE), ("token", TEXT), (REASON, TEXT), (PROBLEM, TEXT)]
    return pa.schema([*known, *((fact.name, fact.type) for fact in kind.facts)])


def answer_schema(kind: KeptFacts) -> pa.Schema:
    """The same behind the position of the file in its batch."""
    return pa.schema([(AT, WHOLE), *kept_schema(kind)])


def as_rows(kind: FactsKind, positions: Sequence[int], files: Sequence[FileFacts]) -> pa.Table:
    """The facts of files at these positions."""
    columns: list[Sequence[object]] = [
        positions,
        [file.path for file in files],
        [file.size for file in files],
        [file.token for file in files],
        [file.reason if file.values is None else None for file in files],
        [file.problem or None for file in files],
    ]
    values = [file.values or {} for file in files]
    columns += [[one.get(fact.name) for one in values] for fact in kind.facts]
    schema = answer_schema(kind)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
