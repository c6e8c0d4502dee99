"""Entries that point into a value, or that read what a value is only a part of."""

from __future__ import annotations

from metaferry.lightly.schema import Entry, ValueType
from unit.planning.planner_world import Plan, Table, decide, document


def entry(path: str, value_type: ValueType = ValueType.NUMERIC_INT) -> Entry:
    return Entry(path, path, None, value_type)


def planned(kind: str, values: list[object], *entries: Entry, key: str = "tags") -> Plan:
    table = Table(
        [(f"{n}.png", None, value) for n, value in enumerate(values)], keys={key: kind}, has_frame=False
    )
    return decide([f"{n}.png" for n in range(len(values))], table, in_place=entries)


def uncovered(plan: Plan) -> list[str]:
    return [
        message.split(" is written")[0] for code, _, message, _ in plan.findings if code == "schema.uncovered"
    ]


def test_a_value_in_a_list_that_does_not_fit_its_entry_is_a_reject() -> None:
    plan = planned("VARCHAR[]", [["x"], ["3", "y"], [], None], entry("tags[0]"))
    assert plan.codes() == {2: "value.type"}
    assert plan.rejects[0][2] == "tags[0] is x, expected a whole number within ±2^53"
    assert plan.bodies[document("1.json")]["metadata"] == {"tags": [3, "y"]}
    assert document("0.json") not in plan.bodies
    assert plan.bodies[document("2.json")]["metadata"] == {"tags": []}


def test_a_value_in_an_object_in_a_list_is_checked_too() -> None:
    kind = "STRUCT(label VARCHAR, score DOUBLE)[]"
    good, bad = [{"label": "car", "score": 1.0}], [{"label": "car", "score": 0.5}]
    plan = planned(kind, [good, bad], entry("boxes[0].score"), key="boxes")
    assert plan.rejects == [("value.type", 3, "boxes[0].score is 0.5, expected a whole number within ±2^53")]
    assert plan.bodies[document("0.json")]["metadata"] == {"boxes": [{"label": "car", "score": 1}]}


def test_a_value_of_a_map_is_checked_too() -> None:
    plan = planned("MAP(VARCHAR, VARCHAR)", ["{a=1}", "{a=x}", "{b=x}"], entry("more.a"), key="more")
    assert plan.codes() == {3: "value.type"}
    assert plan.bodies[document("0.json")]["metadata"] == {"more": {"a": 1}}
    assert uncovered(plan) == ["more.b"]


def test_a_text_where_an_entry_looks_for_a_list_is_a_reject() -> None:
    plan = planned("VARCHAR", ["x", None], entry("tags[0]"))
    assert plan.rejects == [("value.type", 2, "tags[0] is x, expected a list")]


def test_a_number_where_an_entry_looks_for_an_object_is_a_reject() -> None:
    plan = planned("BIGINT", [1, None], entry("weather.temperature"), key="weather")
    assert plan.rejects == [("value.type", 2, "weather.temperature is 1, expected an object")]


def test_an_object_where_an_entry_reads_a_number_is_a_reject() -> None:
    plan = planned("BIGINT", [1, None], entry("weather"), key="weather.temperature")
    assert plan.rejects == [
        ("value.type", 2, "weather is 1, expected a whole number within ±2^53, and no object")
    ]
    assert plan.bodies[document("1.json")]["metadata"] == {}


def test_what_is_not_finite_in_a_list_is_null_and_named_once() -> None:
    plan = planned("DOUBLE[]", [[float("nan"), 2.0]], entry("tags[0]", ValueType.NUMERIC_FLOAT))
    assert plan.rejects == []
    assert plan.bodies[document("0.json")]["metadata"] == {"tags": [None, 2.0]}
    assert [code for code, *_ in plan.findings].count("value.not_finite") == 1


def test_a_position_that_no_entry_reads_is_told_though_another_is_read() -> None:
    plan = planned("BIGINT[]", [[1, 2], [3]], entry("tags[0]"))
    assert uncovered(plan) == ["tags[1]"]
    assert uncovered(planned("BIGINT[]", [[1], [3]], entry("tags[0]"))) == []
    assert uncovered(planned("BIGINT[]", [[1, None], [3]], entry("tags[0]"))) == []
    assert uncovered(planned("BIGINT[]", [[1, 2]])) == ["tags"]


def test_many_positions_are_not_named_one_by_one() -> None:
    found = uncovered(planned("BIGINT[]", [list(range(1000))], entry("tags[0]")))
    assert len(found) == 21
    assert "tags[21] and what follows" in found


def test_a_field_of_an_object_in_a_list_that_no_entry_reads_is_told() -> None:
    kind = "STRUCT(label VARCHAR, score DOUBLE)[]"
    boxes = [[{"label": "car", "score": 1.0}]]
    found = uncovered(planned(kind, list(boxes), entry("boxes[0].score"), key="boxes"))
    assert found == ["boxes[0].label"]


def test_one_place_has_one_spelling() -> None:
    plan = planned("VARCHAR[]", [["x"]], entry("tags[00]"))
    assert plan.codes() == {2: "value.type"}
