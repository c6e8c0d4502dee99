"""`metaferry schema infer`: what it prints is right when it is pasted."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from e2e.world import World
from metaferry.demo import make_dataset
from metaferry.job.yaml_text import read_yaml

#: Names that YAML, or a comment, would misread.
HOSTILE = ["no", "12", "a: b", "# x", "it's", 'q"', "tab\there", "\u2028", "null", "zw\u200bj", "🚗", "- x"]


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    dataset = make_dataset(tmp_path_factory.mktemp("demo"))
    return (dataset.media / dataset.images[0]).read_bytes()


@pytest.fixture
def world(tmp_path: Path, picture: bytes) -> World:
    world = World(tmp_path)
    for name in ("a.png", "b.png", "c.png"):
        world.put(f"data/{name}", picture)
    world.put(
        "tables/t.csv",
        "file_name,lit,lanes,speed,scene,seen,tags\n"
        "a.png,0,2,30.5,day,2026-05-14,\n"
        "b.png,1,2,,night,2026-05-15,\n"
        "c.png,1,4,50,day,2026-05-14,\n",
    )
    world.job = {"input": "data", "sources": [{"table": "tables/t.csv"}]}
    world.write_job()
    return world


def test_entries_come_with_their_reasons(world: World) -> None:
    ran = world.run("schema", "infer", "job.yaml")
    assert ran.code == 0
    assert ran.out == (
        "# 5 entries from 3 rows.\n"
        "# Pasted into a job file, they are added to schema.json, or change its entries of the same path.\n"
        "schema:\n"
        "\n"
        f"  # {world.root}/tables/t.csv, lanes (bigint): 3 rows, 2 different, 2 to 4, "
        "most often 2 (2), 4 (1)\n"
        "  # could be CATEGORICAL_INT, default 0: only 2 different values\n"
        "  # could be NUMERIC_FLOAT, default 0.0: where numbers with fractions may come later\n"
        "  - name: lanes\n"
        "    path: lanes\n"
        "    defaultValue: 0\n"
        "    valueDataType: NUMERIC_INT\n"
        "\n"
        f"  # {world.root}/tables/t.csv, lit (bigint): 3 rows, 2 different, 0 to 1, most often 1 (2), 0 (1)\n"
        "  # could be CATEGORICAL_BOOLEAN, default false: all values are 0 or 1\n"
        '  #   with this line in `metadata:` → lit: "\\"lit\\"::BOOLEAN"; '
        "`metadata:` then has to name the other keys too\n"
        "  # could be CATEGORICAL_INT, default 0: only 2 different values\n"
        "  # could be NUMERIC_FLOAT, default 0.0: where numbers with fractions may come later\n"
        "  - name: lit\n"
        "    path: lit\n"
        "    defaultValue: 0\n"
        "    valueDataType: NUMERIC_INT\n"
        "\n"
        f"  # {world.root}/tables/t.csv, scene (varchar): 3 rows, 2 different, "
        '"day" to "night", most often "day" (2), "night" (1)\n'
        "  - name: scene\n"
        "    path: scene\n"
        "    defaultValue: undefined\n"
        "    valueDataType: CATEGORICAL_STRING\n"
        "\n"
        f"  # {world.root}/tables/t.csv, seen (varchar): 3 rows, 2 different, "
        '"2026-05-14" to "2026-05-15", most often "2026-05-14" (2), "2026-05-15" (1)\n'
        '  # could be CATEGORICAL_DATETIME, default "undefined": all values are dates\n'
        "  - name: seen\n"
        "    path: seen\n"
        "    defaultValue: undefined\n"
        "    valueDataType: CATEGORICAL_STRING\n"
        "\n"
        f"  # {world.root}/tables/t.csv, speed (double): 3 rows, 1 without a value, 2 different, "
        "30.5 to 50.0, such as 30.5 (1), 50.0 (1)\n"
        "  - name: speed\n"
        "    path: speed\n"
        "    defaultValue: 0.0\n"
        "    valueDataType: NUMERIC_FLOAT\n"
        "\n"
        "# Note: tags has no value in any row, so no type\n"
        "#   → write an entry by hand where it should be shown\n"
    )
    assert not (world.data / ".lightly").exists()


def test_what_is_printed_makes_the_schema_that_infer_makes(world: World) -> None:
    printed = world.run("schema", "infer", "job.yaml").out
    assert world.run("sync", "job.yaml").code == 0
    inferred = json.loads((world.data / ".lightly/metadata/schema.json").read_bytes())
    pasted = read_yaml(printed)
    assert pasted.faults == []
    assert pasted.value["schema"] == inferred == yaml.safe_load(printed)["schema"]
    world.put("pasted.yaml", (world.root / "job.yaml").read_text() + printed)
    plan = world.run("plan", "pasted.yaml", "--exit-code", "--format", "json")
    assert (plan.code, plan.report["schema"]["written"]) == (0, False)


def test_json_has_the_entries_of_a_schema_json(world: World) -> None:
    ran = world.run("schema", "infer", "job.yaml", "--format", "json")
    world.put("mine.json", json.dumps(ran.report["entries"]))
    assert world.run("plan", "job.yaml", "--set", "schema=mine.json").code == 0
    by_path = {reason["path"]: reason for reason in ran.report["reasons"]}
    assert list(by_path) == [entry["path"] for entry in ran.report["entries"]]
    assert by_path["speed"]["columns"] == [
        {
            "source": f"{world.root}/tables/t.csv",
            "column": "speed",
            "type": "DOUBLE",
            "rows": 3,
            "nulls": 1,
            "distinct": 2,
            "min": 30.5,
            "max": 50.0,
            "not_finite": 0,
            "examples": [{"value": 30.5, "rows": 1}, {"value": 50.0, "rows": 1}],
        }
    ]
    assert by_path["lit"]["could_be"][0] == {
        "valueDataType": "CATEGORICAL_BOOLEAN",
        "defaultValue": False,
        "why": "all values are 0 or 1",
        "metadata": 'lit: "\\"lit\\"::BOOLEAN"',
    }


def test_every_alternative_is_one(world: World) -> None:
    """Each that is named is put into the job, with its line of the mapping: no row is rejected."""
    columns: dict[str, list[Any]] = {
        "bit": [0, 1, 1],
        "few": [3, 5, 5],
        "time": [1_700_000_000, 1_700_000_001, 1_700_000_002],
        "large": [2**60, 1, 2],
        "whole": [1.0, 2.0, 2.0],
        "digits": ["1", "2", "007"],
        "points": ["1.5", "2", "1e3"],
        "truth": ["True", "false", "TRUE"],
        "word": ["yes", "no", "no"],
        "date": ["2026-05-14", "2026-05-14T10:00", "2026-05-14 10:00:01Z"],
    }
    sink = io.BytesIO()
    pq.write_table(pa.table({"file_name": ["a.png", "b.png", "c.png"], **columns}), sink)
    world.put("tables/t.parquet", sink.getvalue())
    mapping = {key: key for key in columns}
    world.job["sources"] = [{"table": "tables/t.parquet", "metadata": mapping}]
    world.write_job()
    found = world.run("schema", "infer", "job.yaml", "--format", "json").report
    tried = set()
    for entry, reason in zip(found["entries"], found["reasons"], strict=True):
        for other in reason["could_be"]:
            changed = {key: other[key] for key in ("valueDataType", "defaultValue")}
            line = yaml.safe_load(other["metadata"]) if other["metadata"] else {}
            world.job["sources"][0]["metadata"] = {entry["path"]: entry["path"]} | line
            world.job["schema"] = [entry | changed]
            world.write_job()
            plan = world.run("plan", "job.yaml", "--format", "json")
            assert plan.code == 0, (entry, other, plan.report["finding_examples"])
            tried.add((entry["path"], other["valueDataType"]))
    assert tried == {
        ("bit", "CATEGORICAL_BOOLEAN"),
        ("bit", "CATEGORICAL_INT"),
        ("bit", "NUMERIC_FLOAT"),
        ("few", "CATEGORICAL_INT"),
        ("few", "NUMERIC_FLOAT"),
        ("time", "CATEGORICAL_INT"),
        ("time", "CATEGORICAL_TIMESTAMP"),
        ("time", "NUMERIC_FLOAT"),
        ("large", "OTHER_STRING"),
        ("whole", "NUMERIC_INT"),
        ("digits", "NUMERIC_INT"),
        ("points", "NUMERIC_FLOAT"),
        ("truth", "CATEGORICAL_BOOLEAN"),
        ("word", "CATEGORICAL_BOOLEAN"),
        ("date", "CATEGORICAL_DATETIME"),
    }


def test_entries_in_place_stay_as_they_are(world: World) -> None:
    entries = [
        {"name": "Lanes", "path": "lanes", "defaultValue": 1, "valueDataType": "CATEGORICAL_INT"},
        {"name": "speed", "path": "speed", "defaultValue": 0, "valueDataType": "NUMERIC_INT"},
    ]
    world.put("data/.lightly/metadata/schema.json", json.dumps(entries))
    ran = world.run("schema", "infer", "job.yaml")
    assert yaml.safe_load(ran.out)["schema"][:2] == entries
    assert "as it is in schema.json; the data alone would give NUMERIC_FLOAT" in ran.out
    assert "  # 1 value does not fit it: a run rejects their rows" in ran.out
    world.job["schema"] = [{**entries[0], "name": "mine"}]
    world.write_job()
    ran = world.run("schema", "infer", "job.yaml")
    assert [each["name"] for each in yaml.safe_load(ran.out)["schema"]][:2] == ["mine", "speed"]
    assert "as it is in the job's `schema:`" in ran.out


def test_names_and_values_that_yaml_would_misread_stay_what_they_are(world: World) -> None:
    rows = {name: [f"{name}\n- evil: {name}", None, name] for name in HOSTILE}
    sink = io.BytesIO()
    pq.write_table(pa.table({"file_name": ["a.png", "b.png", "c.png"], **rows}), sink)
    world.put("tables/t.parquet", sink.getvalue())
    world.job["sources"] = [{"table": "tables/t.parquet"}]
    world.write_job()
    printed = world.run("schema", "infer", "job.yaml").out
    assert sorted(entry["path"] for entry in yaml.safe_load(printed)["schema"]) == sorted(HOSTILE)
    assert read_yaml(printed).value == yaml.safe_load(printed)
    assert all(
        line.startswith(("#", "  # ", "  - ", "    ", "schema:")) for line in printed.splitlines() if line
    )


def test_what_has_no_entry_is_said(world: World) -> None:
    world.put("tables/t.jsonl", '{"file_name": "a.png", "tags": ["x"], "n": 1}\n{"file_name":\n')
    world.job["sources"] = [{"table": "tables/t.jsonl"}]
    world.write_job()
    ran = world.run("schema", "infer", "job.yaml")
    assert ran.out.startswith("# 1 entry from 2 rows; 1 row could not be read.\n")
    assert "tags is written, but no schema entry shows it" in ran.out


def test_integers_are_categories_where_the_job_says_so(world: World) -> None:
    ran = world.run("schema", "infer", "job.yaml", "--set", "schema.infer.categorical_integers=2")
    assert [each["valueDataType"] for each in yaml.safe_load(ran.out)["schema"]][:2] == [
        "CATEGORICAL_INT"
    ] * 2
    assert "  # could be NUMERIC_INT, default 0: numbers to be compared\n" in ran.out


def test_rows_that_where_leaves_out_are_not_counted(world: World) -> None:
    world.job["sources"][0]["where"] = "lanes = 2"
    world.write_job()
    ran = world.run("schema", "infer", "job.yaml")
    assert ran.out.startswith("# 5 entries from 3 rows; `where` leaves out 1 row.\n")
    assert "lanes (bigint): 2 rows, 1 different, 2 to 2, most often 2 (2)" in ran.out


def test_the_keys_of_a_query_have_their_figures(world: World) -> None:
    world.job["tables"] = {"t": "tables/t.csv"}
    world.job["sources"] = [
        {"name": "counts", "query": 'SELECT file_name, lit, count(*) AS "n.rows" FROM t GROUP BY ALL'}
    ]
    world.write_job()
    ran = world.run("schema", "infer", "job.yaml")
    assert ran.code == 0
    assert "  # counts, n.rows (bigint): 3 rows, 1 different, 1 to 1, most often 1 (3)\n" in ran.out
    assert "  # could be CATEGORICAL_INT, default 0: only 2 different values\n" in ran.out
    assert "in `metadata:`" not in ran.out  # a query has no such key


def test_columns_of_every_type_have_their_figures(world: World) -> None:
    day = datetime(2026, 5, 14, 8, 1, tzinfo=UTC)
    days = [day, None, day + timedelta(days=1)]
    plain = [each.replace(tzinfo=None) if each else None for each in days]
    columns: dict[str, tuple[pa.Array, Any, Any]] = {
        "boolean": (pa.array([True, None, False]), False, True),
        "byte": (pa.array([-5, None, 7], pa.int8()), -5, 7),
        "unsigned": (pa.array([1, None, 2**63], pa.uint64()), 1, 2**63),
        "single": (pa.array([0.1, float("nan"), 2.5], pa.float32()), 0.1, 2.5),
        "double": (pa.array([float("-inf"), -1e300, 1e300]), -1e300, 1e300),
        "exact": (pa.array([Decimal("1.50"), None, Decimal("-2.25")]), -2.25, 1.5),
        "text": (pa.array(["ä", None, "a"]), "a", "ä"),
        "word": (pa.array(["b", None, "a"]).dictionary_encode(), "a", "b"),
        "date": (pa.array(plain).cast(pa.date32()), "2026-05-14", "2026-05-15"),
        "time": (pa.array([time(8, 1), None, time(9, 2)]), "08:01:00", "09:02:00"),
        "moment": (pa.array(plain, pa.timestamp("ns")), "2026-05-14T08:01:00", "2026-05-15T08:01:00"),
        "zoned": (pa.array(days, pa.timestamp("us", "UTC")), "2026-05-14T08:01:00Z", "2026-05-15T08:01:00Z"),
    }
    sink = io.BytesIO()
    names = pa.array(["a.png", "b.png", "c.png"])
    table = {name: values for name, (values, _, _) in columns.items()}
    pq.write_table(pa.table({"file_name": names, **table}), sink)
    world.put("tables/t.parquet", sink.getvalue())
    world.job["sources"] = [{"table": "tables/t.parquet"}]
    world.write_job()
    reasons = world.run("schema", "infer", "job.yaml", "--format", "json").report["reasons"]
    found = {reason["path"]: reason["columns"][0] for reason in reasons}
    assert {name: (one["min"], one["max"]) for name, one in found.items()} == {
        name: (low, high) for name, (_, low, high) in columns.items()
    }
    assert (found["single"]["not_finite"], found["double"]["not_finite"]) == (1, 1)
    assert world.run("schema", "infer", "job.yaml").code == 0


def test_a_column_of_numbers_that_is_text_is_said(world: World) -> None:
    world.put("tables/t.csv", "file_name,x\na.png,1\nb.png,2\nc.png,about 3\n")
    ran = world.run("schema", "infer", "job.yaml")
    assert "x becomes text (CATEGORICAL_STRING)" in ran.out


def test_a_job_that_is_none_is_a_usage_error(world: World) -> None:
    assert world.run("schema", "infer", "nope.yaml").code == 2
    world.put("tables/u.csv", "file_name,lanes\na.png,wide\n")
    world.job["sources"].append({"table": "tables/u.csv"})
    world.write_job()
    ran = world.run("schema", "infer", "job.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert "lanes is integer in" in ran.err
