"""The tree as a table: defaults, frames under their video, and every key as it is written."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tree_rows import Document, database_with, of_frame, of_media

from metaferry.errors import UsageError
from metaferry.lightly.schema import Entry, ValueType
from metaferry.view.export import rows
from metaferry.view.export.values import MOST_COLUMNS, load_as_written, load_values

ENTRIES = (
    Entry("Scene", "scene", "undefined", ValueType.CATEGORICAL_STRING),
    Entry("Speed", "ego.speed", 0.5, ValueType.NUMERIC_FLOAT),
    Entry("Count", "count", 7, ValueType.NUMERIC_INT),
    Entry("Night", "night", False, ValueType.CATEGORICAL_BOOLEAN),
    Entry("First tag", "tags[0]", None, ValueType.CATEGORICAL_STRING),
)


def shown(
    media: list[str], documents: list[Document], entries: tuple[Entry, ...] = ENTRIES
) -> dict[str, dict[str, Any]]:
    with database_with(media) as database:
        values = load_values(database, documents, entries)
        found = [
            row for batch in rows.batches(database, values, as_written=False) for row in batch.to_pylist()
        ]
    assert [row["target"] for row in found] == sorted(row["target"] for row in found)
    return {row["target"].removeprefix(".lightly/metadata/").removesuffix(".json"): row for row in found}


def written(documents: list[Document]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    with database_with([]) as database:
        values = load_as_written(database, documents)
        found = [
            row for batch in rows.batches(database, values, as_written=True) for row in batch.to_pylist()
        ]
    return found, {column.name: str(column.type) for column in values.columns}


def test_a_value_that_is_missing_or_null_is_its_default() -> None:
    row = shown(["a.png"], [of_media("a.png", {"scene": None, "night": True})])["a"]
    assert (row["scene"], row["ego.speed"], row["count"], row["night"]) == ("undefined", 0.5, 7, True)
    assert row["tags[0]"] is None
    assert row["state"] == "document"


def test_media_without_a_document_show_defaults_and_say_so() -> None:
    found = shown(["a.png", "b.png"], [of_media("a.png", {"other": 1})])
    assert {name: row["state"] for name, row in found.items()} == {"a": "default", "b": "missing"}
    assert {row["count"] for row in found.values()} == {7}


def test_frames_show_their_own_values_over_those_of_their_video() -> None:
    documents = [
        of_media("v.mp4", {"scene": "city", "count": 1}),
        of_frame("v.mp4", 0, 2, {"count": 2}),
        of_frame("v.mp4", 11, 2, {}),
    ]
    found = shown(["v.mp4"], documents)
    assert (found["v-00-mp4"]["scene"], found["v-00-mp4"]["count"]) == ("city", 2)
    assert (found["v-11-mp4"]["scene"], found["v-11-mp4"]["count"]) == ("city", 1)
    assert (found["v-11-mp4"]["frame"], found["v-11-mp4"]["state"]) == (11, "document")
    assert (found["v"]["frame"], found["v"]["kind"]) == (None, "video")


def test_numbers_have_the_type_of_their_entry() -> None:
    row = shown(["a.png"], [of_media("a.png", {"count": 3.0, "ego": {"speed": 4}, "tags": ["x"]})])["a"]
    assert (row["count"], row["ego.speed"], row["tags[0]"]) == (3, 4.0, "x")
    assert (type(row["count"]), type(row["ego.speed"])) == (int, float)


def test_an_integer_beyond_what_a_float_has_is_the_nearest_one() -> None:
    large = 2**60 + 1
    row = shown(["a.png", "b.png"], [of_media("a.png", {"ego": {"speed": large}})])["a"]
    assert row["ego.speed"] == float(large)


def test_what_no_consumer_shows_is_no_row() -> None:
    documents = [
        of_media("a.png", {"count": 1}, orphan=True),
        of_media("b.png", {}, invalid=True),
    ]
    assert shown(["b.png"], documents) == {}


def test_no_entry_and_no_document_is_a_table_too() -> None:
    assert shown([], [], ()) == {}
    assert list(shown(["a.png"], [of_media("a.png", {"x": 1})], ())["a"]) == [
        "target", "kind", "media", "frame", "state",
    ]  # fmt: skip


def test_as_written_every_key_is_a_column_and_a_missing_one_is_null() -> None:
    found, types = written(
        [
            of_media("a.png", {"n": 1, "w": {"t": 0.5}}),
            of_media("b.png", {"tags": ["x", None], "w": {"ok": True}}),
        ]
    )
    assert types == {"n": "int64", "tags": "list<item: string>", "w.ok": "bool", "w.t": "double"}
    assert [(row["n"], row["w.t"], row["w.ok"], row["tags"]) for row in found] == [
        (1, 0.5, None, None),
        (None, None, True, ["x", None]),
    ]


def test_as_written_orphans_are_rows_and_invalid_documents_are_none() -> None:
    found, _ = written([of_media("a.png", {"n": 1}, orphan=True), of_media("b.png", {}, invalid=True)])
    assert [(row["media"], row["state"], row["n"]) for row in found] == [("a.png", "orphan", 1)]


def test_a_key_called_like_a_column_of_ours_or_like_another_has_a_name_of_its_own() -> None:
    found, types = written([of_media("a.png", {"kind": "x", "A": 1, "a": 2})])
    assert list(types) == ["A", "a (2)", "kind (2)"]
    assert (found[0]["kind"], found[0]["kind (2)"], found[0]["A"], found[0]["a (2)"]) == ("image", "x", 1, 2)


def test_values_that_no_type_holds_are_json_text() -> None:
    found, types = written([of_media("a.png", {"x": 1}), of_media("b.png", {"x": {"y": "ü"}})])
    assert types == {"x": "string"}
    assert [row["x"] for row in found] == ["1", '{"y":"ü"}']


def test_more_keys_than_a_table_has_columns_are_refused() -> None:
    with pytest.raises(UsageError, match="too many for the columns"):
        written([of_media("a.png", {f"k{n}": n for n in range(MOST_COLUMNS + 1)})])


def test_the_order_does_not_depend_on_the_order_of_reading() -> None:
    documents = [of_media(f"{n:05d}.png", {"n": n}) for n in range(30_000)]
    random.Random(3).shuffle(documents)
    found, _ = written(documents)
    assert [row["n"] for row in found] == list(range(30_000))
