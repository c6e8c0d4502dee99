"""Documents in place under schema entries: each way of being wrong, counted and named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metaferry.errors import Denied
from metaferry.lightly.schema import Entry, ValueType
from metaferry.view.schema.documents import NAMED, DocumentCheck

ENTRIES = [
    Entry("speed", "speed", 0, ValueType.NUMERIC_INT),
    Entry("temperature", "weather.temperature", 0.0, ValueType.NUMERIC_FLOAT),
    Entry("first", "tags[0]", "undefined", ValueType.CATEGORICAL_STRING),
]


def found(*documents: Any) -> list[tuple[str, int, int, str, int]]:
    check = DocumentCheck([("schema.json", ENTRIES)])
    for number, document in enumerate(documents):
        data = document if isinstance(document, bytes) else json.dumps({"metadata": document}).encode()
        check.add(f"{number}.json", data)
    return list(check.faults())


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"speed": None, "weather": None, "tags": None},
        {"speed": 3, "weather": {"temperature": 3}, "tags": ["x", 4], "other": []},
        {"speed": 3.0, "weather": {}, "tags": []},
    ],
)
def test_what_fits_or_is_missing_is_no_fault(metadata: dict[str, Any]) -> None:
    assert found(metadata) == []


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"speed": 3.5}, "speed is 3.5, and by its entry in schema.json it is NUMERIC_INT: a whole number"),
        ({"speed": True}, "speed is true, and"),
        ({"speed": "3"}, 'speed is "3", and'),
        ({"speed": 2**53 + 2}, "speed is 9007199254740994, and"),
        ({"weather": "warm"}, 'weather.temperature is "warm", and'),
        ({"tags": {"0": "x"}}, 'tags[0] is {"0": "x"}, and'),
        ({"tags": [4]}, "tags[0] is 4, and"),
    ],
)
def test_a_value_of_another_type_is_named(metadata: dict[str, Any], message: str) -> None:
    ((target, line, column, said, documents),) = found(metadata)
    assert (target, line, column, documents) == ("0.json", 0, 0, 1)
    assert said.startswith(message)


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (b'{"metadata": {"speed": 1,}}', (1, 25), "a trailing comma"),
        (b'{"metadata":\n {"speed": NaN}}', (2, 12), "NaN is not JSON"),
        (b"", (1, 1), "the file is empty"),
        (b"\xff", (1, 1), "byte 0xff here is not UTF-8"),
        (b"[]", (1, 1), "a document is an object"),
        (b'{"file_name": "a.png"}', (1, 1), "a document is an object"),
        (b"[" * 3_000_000, (0, 0), "it is not JSON"),
    ],
)
def test_what_is_no_document_is_named_with_its_place(
    data: bytes, place: tuple[int, int], message: str
) -> None:
    ((_, *where, said, _),) = found(data)
    assert tuple(where) == place
    assert said.startswith(message)


def test_of_many_the_first_by_name_are_named_and_the_others_counted() -> None:
    faults = found(*[{"speed": "x"}] * (NAMED + 5), {"weather": "warm"})
    assert [fault[0] for fault in faults] == ["0.json", "1.json", "2.json", "8.json"]
    assert faults[2][3].endswith("(and 5 more documents alike)")
    assert [fault[4] for fault in faults] == [1, 1, 6, 1]


def test_one_that_is_gone_is_none_and_one_that_cannot_be_read_is() -> None:
    check = DocumentCheck([("schema.json", ENTRIES)])
    check.documents = 2
    check.add("a.json", None)
    check.add("b.json", Denied("no"))
    assert [(fault[0], fault[3]) for fault in check.faults()] == [("b.json", "it cannot be read: no")]
    assert check.notes()[0] == "1 of 2 documents in place were not read"


def test_entries_that_no_document_fills_are_noted() -> None:
    check = DocumentCheck([("schema.json", ENTRIES)])
    check.documents = 1
    check.add("a.json", b'{"metadata": {"speed": 1, "weather": {"temperature": null}}}')
    assert check.notes() == [
        f"no document that was read has a value for {path}: its default is shown instead"
        for path in ("weather.temperature", "tags[0]")
    ]
