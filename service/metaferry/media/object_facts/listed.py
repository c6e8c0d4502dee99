"""The facts of a listing as columns: what the planning database and the pages of a checkpoint hold. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from metaferry.storage.facts.model import NO_FACTS, ObjectFacts
from metaferry.storage.protocol import DescribedEntry, Entry

#: Metadata and tags are JSON objects as text; null is what is not known. `unreadable` counts pairs that could
#: not be told as text.
FACTS: Final = pa.schema(
    [
        ("etag", pa.string()),
        ("content_type", pa.string()),
        ("storage_class", pa.string()),
        ("metadata", pa.string()),
        ("tags", pa.string()),
        ("unreadable", pa.int64()),
    ]
)
#: The same with the time of the last change; null where the listing has none.
LISTED: Final = FACTS.insert(0, pa.field("modified", pa.timestamp("us", "UTC")))


def facts_of(entries: Iterable[Entry]) -> list[ObjectFacts]:
    """The facts of entries, of a listing that had them or of one that has none."""
    return [entry.facts if isinstance(entry, DescribedEntry) else NO_FACTS for entry in entries]


def fact_columns(facts: Sequence[ObjectFacts]) -> list[pa.Array]:
    """The columns of `FACTS`."""
    columns: list[list[Any]] = [
        [each.etag for each in facts],
        [each.content_type for each in facts],
        [each.storage_class for each in facts],
        [pairs_text(each.metadata) for each in facts],
        [pairs_text(each.tags) for each in facts],
        [each.unreadable for each in facts],
    ]
    return [pa.array(column, field.type) for column, field in zip(columns, FACTS, strict=True)]


def listed_columns(mtimes: Sequence[float], facts: Sequence[ObjectFacts]) -> list[pa.Array]:
    """The columns of `LISTED`. `mtimes` are seconds since 1970; 0 for one that is not known."""
    micros = pa.array([round(mtime * 1e6) if mtime else None for mtime in mtimes], pa.int64())
    return [micros.cast(LISTED.field("modified").type), *fact_columns(facts)]


def facts_in(rows: pa.RecordBatch) -> list[ObjectFacts]:
    """The facts in the columns of `FACTS`."""
    return [
        ObjectFacts(
            row["etag"],
            row["content_type"],
            row["storage_class"],
            None if row["metadata"] is None else json.loads(row["metadata"]),
            None if row["tags"] is None else json.loads(row["tags"]),
            row["unreadable"],
        )
        for row in rows.select(FACTS.names).to_pylist()
    ]


def pairs_text(pairs: Mapping[str, str] | None) -> str | None:
    """Metadata or tags as a JSON object, always the same text for the same pairs."""
    return None if pairs is None else json.dumps(pairs, ensure_ascii=False, sort_keys=True)
