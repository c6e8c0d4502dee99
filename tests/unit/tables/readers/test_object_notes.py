"""Names in the metadata of objects have one spelling, and what could not be used is counted."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from metaferry.tables.readers.media.object_notes import Spelling


def spelled(*objects: dict[str, str] | None) -> tuple[list[dict[str, str] | None], int]:
    spelling = Spelling()
    texts = pa.array([None if each is None else json.dumps(each) for each in objects], pa.string())
    found = spelling(texts).to_pylist()
    return [None if each is None else json.loads(each) for each in found], spelling.dropped


@pytest.mark.parametrize(
    ("objects", "meant", "dropped"),
    [
        ([{"a": "1"}, None, {}], [{"a": "1"}, None, {}], 0),
        ([{"Cam": "1"}, {"cam": "2", "CAM": "3"}], [{"Cam": "1"}, {"Cam": "2"}], 1),
        ([{"a.b[0]": "1"}, {"a_b_0_": "2"}], [{"a_b_0_": "1"}, {"a_b_0_": "2"}], 0),
        ([{"a.b": "1", "a_b": "2"}], [{"a_b": "1"}], 1),
        ([None], [None], 0),
    ],
)
def test_one_spelling_for_a_name(
    objects: list[dict[str, str] | None], meant: list[dict[str, str] | None], dropped: int
) -> None:
    assert spelled(*objects) == (meant, dropped)
