"""Facts of a listing as columns, and back."""

from __future__ import annotations

import pyarrow as pa

from metaferry.media.object_facts.listed import (
    FACTS,
    LISTED,
    fact_columns,
    facts_in,
    facts_of,
    listed_columns,
)
from metaferry.storage.facts.model import NO_FACTS, ObjectFacts
from metaferry.storage.protocol import DescribedEntry, Entry

KNOWN = ObjectFacts("e", "image/jpeg", "STANDARD", {"b": "2", "a": "日\n"}, {}, 3)


def test_facts_come_back_as_they_were() -> None:
    batch = pa.RecordBatch.from_arrays(fact_columns([KNOWN, NO_FACTS]), schema=FACTS)
    assert facts_in(batch) == [KNOWN, NO_FACTS]
    assert batch.column("metadata").to_pylist() == ['{"a": "日\\n", "b": "2"}', None]


def test_an_entry_without_facts_has_none() -> None:
    plain = Entry("a", 1, "t", None, 1.5)
    entries = [plain, DescribedEntry.of(plain, KNOWN)]
    assert facts_of(entries) == [NO_FACTS, KNOWN]
    assert entries[0] == entries[1]  # as entries they are the same


def test_a_time_that_is_not_known_is_null() -> None:
    batch = pa.RecordBatch.from_arrays(listed_columns([1.5, 0.0], [NO_FACTS] * 2), schema=LISTED)
    assert batch.column("modified").cast(pa.int64()).to_pylist() == [1_500_000, None]
