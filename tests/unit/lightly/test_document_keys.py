"""Which keys of a document in place no table gives."""

from __future__ import annotations

import json

import pytest

from metaferry.lightly.document import document
from metaferry.lightly.document_keys import GivenKeys
from metaferry.lightly.names import Kind

GIVEN = GivenKeys([("scene",), ("weather", "temperature"), ("boxes",)])


def text(metadata: object, **beside: object) -> bytes:
    return json.dumps({"file_name": "a.png", "type": "image", "metadata": metadata, **beside}).encode()


@pytest.mark.parametrize(
    ("data", "lost"),
    [
        (text({"scene": "x", "weather": {"temperature": 1}}), []),
        (text({"scene": {"of": "any kind"}, "boxes": [{"x": 1}, {"reviewer": "in a list"}]}), []),
        (text({"weather": {}}), []),
        (text({}), []),
        (text(None), []),
        (b"{}", []),
        (b"", []),
        (b" \n", []),
        (b"\xef\xbb\xbf" + text({"quality": 1}), ["quality"]),
        (text({"scene": "x", "reviewer": "R"}), ["reviewer"]),
        (text({"reviewer": None}), ["reviewer"]),
        (text({"notes": {}}), ["notes"]),
        (text({"weather": "sunny"}), ["weather"]),
        (text({"weather": {"temperature": 1, "wind": {"speed": 2}}}), ["weather.wind.speed"]),
        (text({"a": {"b": 1}, "scene.x": 2}), ["a.b", "scene.x"]),
        (text({}, reviewer="R", tags=[]), ["reviewer (beside metadata)", "tags (beside metadata)"]),
        (b'{"file_name":"a.png","type":"image","metadata":{"scene":"x",}}', None),
        (b'{"metadata":{"reviewer":"R"},"metadata":{}}', None),
        (b"[]", None),
        (b'"text"', None),
        (text([]), None),
        (text("text"), None),
        (b"\xff\xfe\xfd", None),
        (b"[" * 100_000, None),
        (b'{"metadata":{"n":' + b"1" * 5_000 + b"}}", None),
    ],
)
def test_what_would_be_lost(data: bytes, lost: list[str] | None) -> None:
    assert GIVEN.lost(data) == lost


def test_a_document_of_ours_loses_nothing() -> None:
    values = {"scene": "x", "weather": {"temperature": 2.5}, "boxes": [1, 2, {"a": None}]}
    assert GIVEN.lost(document("a.png", Kind.IMAGE, values)) == []


def test_where_no_table_gives_anything_everything_would_be_lost() -> None:
    assert GivenKeys([]).lost(text({"scene": "x"})) == ["scene"]
    assert GivenKeys([]).lost(text({})) == []
