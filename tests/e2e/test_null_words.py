"""One cell that is no number does not make text of a column for good without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.world import World
from metaferry.job.model import Job

CELLS = ["12", "7", "-3"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for number in range(6):
        made.put(f"data/{number}.png", b"image")
    made.job = {"input": "data", "sources": [{"table": "t.csv", "metadata": {"speed": "speed"}}]}
    made.write_job()
    return made


def table(world: World, *cells: str) -> None:
    rows = "".join(f'{number}.png,"{cell}"\n' for number, cell in enumerate(cells))
    world.put("t.csv", "file_name,speed\n" + rows)


def values(world: World) -> list[Any]:
    documents = sorted((world.data / ".lightly/metadata").glob("[0-9]*.json"))
    return [json.loads(path.read_text())["metadata"].get("speed") for path in documents]


def entry(world: World) -> str:
    (one,) = json.loads((world.data / ".lightly/metadata/schema.json").read_text())
    kind: str = one["valueDataType"]
    return kind


def found(report: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [one for one in report["finding_examples"] if one["code"] == code]


WORDS = ["NA", "N/A", "NaN", "nan", "null", "NULL", "None", "\\N", "-", "#N/A"]


@pytest.mark.parametrize("word", WORDS)
def test_a_null_word_among_numbers_is_no_value(world: World, word: str) -> None:
    table(world, *CELLS, word)
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0
    assert values(world) == [12, 7, -3, None]
    assert entry(world) == "NUMERIC_INT"
    (told,) = found(ran.report, "source.nulls")
    assert (
        told["message"]
        == f"one cell of the column speed ({word}) is read as no value: all others are numbers"
    )


@pytest.mark.parametrize(
    ("cells", "expected", "kind"),
    [
        (["1.5", "NA", "2"], [1.5, None, 2.0], "NUMERIC_FLOAT"),
        (["true", "-", "False"], [True, None, False], "CATEGORICAL_BOOLEAN"),
        (
            ["2026-05-14", "NA", "2026-05-14T08:01:00Z"],
            ["2026-05-14", None, "2026-05-14T08:01:00Z"],
            "CATEGORICAL_STRING",
        ),
        (["tunnel", "NA", "-"], ["tunnel", "NA", "-"], "CATEGORICAL_STRING"),
        (["NA", "NA"], ["NA", "NA"], "CATEGORICAL_STRING"),
        (["007", "NA"], ["007", "NA"], "CATEGORICAL_STRING"),
    ],
)
def test_null_words_are_none_beside_numbers_booleans_and_dates_alone(
    world: World, cells: list[str], expected: list[Any], kind: str
) -> None:
    table(world, *cells)
    assert world.run("sync", "job.yaml").code == 0
    assert values(world) == expected
    assert entry(world) == kind


def test_nulls_that_are_named_hold_in_every_column_and_instead_of_the_others(world: World) -> None:
    world.source["nulls"] = ["unknown", -999, None]
    world.source["metadata"]["scene"] = "scene"
    world.put(
        "t.csv", "file_name,speed,scene\n0.png,12,unknown\n1.png,-999,NA\n2.png,unknown,null\n3.png,4,\n"
    )
    world.write_job()
    assert world.run("sync", "job.yaml").code == 0
    documents = [json.loads((world.data / f".lightly/metadata/{n}.json").read_text()) for n in range(4)]
    assert [one["metadata"] for one in documents] == [{"speed": 12}, {"scene": "NA"}, {}, {"speed": 4}]


def test_without_nulls_the_column_is_text(world: World) -> None:
    table(world, *CELLS, "NA")
    ran = world.run("sync", "job.yaml", "--set", "sources[0].nulls=[]", "--format", "json")
    assert (ran.code, values(world)) == (0, ["12", "7", "-3", "NA"])
    assert len(found(ran.report, "schema.text")) == 1


def test_nulls_are_for_cells_and_part_of_the_digest(world: World) -> None:
    world.put("t.jsonl", '{"file_name": "0.png", "speed": 1}\n')
    plain = Job.from_mapping(world.job, base=world.root).digest()
    world.source.update({"table": "t.jsonl", "nulls": ["NA"]})
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "`nulls` is for CSV" in ran.err
    world.source["table"] = "t.csv"
    assert Job.from_mapping(world.job, base=world.root).digest() != plain


ADVISED: dict[str, tuple[list[str], list[Any], str]] = {
    "a word": (["12", "7", "unknown"], [12, 7, None], '"unknown" is no number'),
    "a comma": (["12", "7", "1,5"], [12.0, 7.0, 1.5], "1,5"),
    "commas alone": (["2,25", "1,5"], [2.25, 1.5], "2,25"),
    "a blank": (["12", "7", " 5"], [12.0, 7.0, 5.0], " 5"),
    "no point anywhere": (["1.234,5", "7,25", "NA"], [1234.5, 7.25, None], "1.234,5"),
    "thousands": (["1,234", "12,345.5", "7"], [1234.0, 12345.5, 7.0], "1,234"),
    "thin blanks": (["1\u202f234,5", "7"], [1234.5, 7.0], "1\u202f234,5"),
    "commas beside points": (["1,5", "2.5", "NA"], [1.5, 2.5, None], "1,5"),
    "a sign": (["+7", "2.5", "3", "4"], [7.0, 2.5, 3.0, 4.0], "+7"),
    "many words": (["1", "2", "3", "4", "5", "x" * 30], [1.0, 2.0, 3.0, 4.0, 5.0, None], "x"),
}


@pytest.mark.parametrize("kind", ADVISED)
def test_a_new_text_entry_over_numbers_is_said_with_the_line_to_write(world: World, kind: str) -> None:
    cells, expected, _ = ADVISED[kind]
    table(world, *cells)
    planned = world.run("plan", "job.yaml", "--format", "json")
    assert planned.code == 0
    (told,) = found(planned.report, "schema.text")
    odd = next(n for n, cell in enumerate(cells) if not cell.lstrip("-").isdigit())
    assert (told["severity"], told["row"]) == ("warning", odd + 2)
    assert f"of the {len(cells)} cells of the column speed, " in told["message"]
    assert json.dumps(cells[odd][:40]) in told["message"]
    import yaml

    nulls, options = (told["advice"].partition(before) for before in ("nulls: ", "write beside table: "))
    if nulls[1]:
        world.source["nulls"] = yaml.safe_load(nulls[2])
    elif options[1]:
        for option in options[2].split(" and "):
            world.source.update(yaml.safe_load(option))
    else:
        text = told["advice"].removeprefix("write in metadata: ").removesuffix(", null where it is none")
        world.source["metadata"] = yaml.safe_load(text)
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert (ran.code, found(ran.report, "schema.text")) == (0, [])
    assert values(world) == expected
    assert entry(world).startswith("NUMERIC_")


def test_text_that_holds_a_few_numbers_is_said_nothing_of(world: World) -> None:
    table(world, "a1", "b2", "7", "c3")
    assert found(world.run("sync", "job.yaml", "--format", "json").report, "schema.text") == []


@pytest.mark.parametrize("today", [["12", "7"], ["12", "NA"], ["true", "false"], ["1.50", "2"]])
def test_where_schema_json_says_text_the_column_is_read_as_text(world: World, today: list[str]) -> None:
    table(world, "fast", "NA")
    assert world.run("sync", "job.yaml").code == 0
    table(world, *today)
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert (ran.code, ran.report["sources"][0]["rejected"]) == (0, 0)
    assert values(world) == today
    (told,) = found(ran.report, "schema.text")
    assert "speed is text by its schema entry" in told["message"]


def test_columns_that_no_mapping_names_are_read_and_told_of_alike(world: World) -> None:
    del world.source["metadata"]
    world.write_job()
    table(world, "12", "NA")
    planned = world.run("plan", "job.yaml", "--format", "json").report
    assert "(NA) is read as no value" in found(planned, "source.nulls")[0]["message"]
    table(world, "12", "7", "fast")
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert 'the first that is none is "fast"' in found(ran.report, "schema.text")[0]["message"]
    table(world, "12", "7")
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert (ran.code, values(world)[:2]) == (0, ["12", "7"])
    assert "speed is text by its schema entry" in found(ran.report, "schema.text")[0]["message"]


def test_where_the_job_gives_a_text_entry_the_column_is_read_as_text(world: World) -> None:
    table(world, "12", "NA")
    world.job["schema"] = [
        {"name": "speed", "path": "speed", "defaultValue": "?", "valueDataType": "CATEGORICAL_STRING"}
    ]
    world.write_job()
    assert world.run("sync", "job.yaml").code == 0
    assert values(world) == ["12", "NA"]


EXPRESSIONS: dict[str, list[Any]] = {
    "nullif(speed, 'NA')::DOUBLE": [12.0, None],
    "replace(speed, 'NA', '0')::DOUBLE": [12.0, 0.0],
    "trim(speed)": ["12", "NA"],
    "CASE WHEN speed = 'NA' THEN -1 ELSE speed::INTEGER END": [12, -1],
    "try_cast(nullif(\"Speed\", 'NA') AS BIGINT)": [12, None],
    "coalesce(speed, 0) + 1": [13, 1],
    "try_cast(speed AS DOUBLE)": [12.0, None],
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_over_the_cells_as_text_goes_on_to_work(world: World, expression: str) -> None:
    table(world, "12", "NA")
    world.source["metadata"] = {"speed": expression}
    world.write_job()
    ran = world.run("sync", "job.yaml")
    assert ran.code == 0, ran.err
    assert values(world) == EXPRESSIONS[expression]
    # And on a day without any NA.
    table(world, "12", "5")
    assert world.run("sync", "job.yaml").code == (2 if expression == "trim(speed)" else 0)


def test_an_expression_that_fails_either_way_names_the_way_to_text(world: World) -> None:
    table(world, "12", "NA")
    world.source["metadata"] = {"speed": "list_sum(speed)"}
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "nulls: []" in ran.err
