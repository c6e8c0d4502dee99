"""The `frame` that is advised for frames that are not there: text to paste, whatever the expressions are."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from metaferry.job.sources import Source
from metaferry.planning.advice.frames import out_of_range_advice


@pytest.mark.parametrize(
    ("frame", "lines"),
    [
        ("f", ["frame: {value: f, base: 1}"]),
        ({"value": "f", "base": 1}, ["frame: f"]),
        ({"value": '"Frame: No"'}, ["frame: {value: '\"Frame: No\"', base: 1}"]),
        ({"value": "a\n+ b"}, ['frame: {"value": "a\\n+ b", "base": 1}']),
        (
            {"from": "a", "to": "b"},
            ["frame: {from: a, to: b, base: 1}", "frame: {from: a, until: b}"],
        ),
        (
            {"from": "a", "until": "b", "base": 1},
            ["frame: {from: a, until: b}", "frame: {from: a, to: b, base: 1}"],
        ),
    ],
)
def test_the_lines_to_paste_hold_the_expressions_of_the_source(frame: Any, lines: list[str]) -> None:
    advice = out_of_range_advice(Source.model_validate({"table": "/t.csv", "frame": frame}))
    found = ["frame: " + part.partition("frame: ")[2] for part in advice.split("; ") if "frame: " in part]
    assert found == lines
    for line in found:
        pasted = Source.model_validate({"table": "/t.csv", **yaml.safe_load(line)})
        assert pasted.frame is not None
    assert "…" not in advice


def test_of_a_query_the_column_frame_is_meant() -> None:
    advice = out_of_range_advice(Source.model_validate({"query": "SELECT * FROM t"}))
    assert "frame: {value: frame, base: 1}" in advice


def test_of_times_it_is_the_gap() -> None:
    source = Source.model_validate({"table": "/t.csv", "frame": {"seconds": "t"}})
    assert "larger `max_gap`" in out_of_range_advice(source)
