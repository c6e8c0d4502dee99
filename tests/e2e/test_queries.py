"""Queries over named tables as sources, through the command: documents, counts, faults, refusals."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from e2e.world import World
from metaferry.job.model import Job

BOXES = """\
image,label,score,scene_id,is_depiction
a,car,0.5,1,false
a,car,1e16,1,false
a,dog,0.3,1,false
a,cat,0.3,1,true
b,cat,0.9,2,false
c,bus,0.9,3,true
"""
SCENES = "scene_id,weather\n1,dry\n2,NA\n3,wet\n"
QUERY = """\
-- one row an image
SELECT image || '.png' AS file_name, count(*) AS objects, list(DISTINCT label) AS labels,
       sum(score) AS total, min(s.weather) AS "weather.description"
FROM boxes JOIN scenes s USING (scene_id) WHERE NOT is_depiction GROUP BY image
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in "abc":
        made.put(f"data/{name}.png", b"image")
    made.put("boxes.csv", BOXES)
    made.put("scenes.csv", SCENES)
    made.job = {
        "input": "data",
        "tables": {"boxes": "boxes.csv", "scenes": {"table": "scenes.csv", "nulls": ["NA"]}},
        "sources": [{"name": "objects", "query": QUERY}],
    }
    made.write_job()
    return made


def documents(world: World) -> dict[str, Any]:
    paths = sorted((world.data / ".lightly/metadata").rglob("*.json"))
    return {
        path.stem: json.loads(path.read_text())["metadata"] for path in paths if path.name != "schema.json"
    }


def with_query(world: World, query: str, **more: Any) -> World:
    world.job["sources"] = [{"name": "objects", "query": query, **more}]
    world.write_job()
    return world


def rejects(report: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(report["rejects_url"]).to_pylist()
    return sorted(rows, key=str)


def test_a_query_joins_and_groups_tables_into_documents(world: World) -> None:
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    assert documents(world) == {
        "a": {
            "labels": ["car", "dog"],
            "objects": 3,
            "total": 1e16,
            "weather": {"description": "dry"},
        },
        "b": {"labels": ["cat"], "objects": 1, "total": 0.9},
    }
    (source,) = ran.report["sources"]
    assert (source["name"], source["read"], source["used"]) == ("objects", 2, 2)
    assert ran.report["relations"] == [
        {"name": "boxes", "read": 6, "rejected": 0},
        {"name": "scenes", "read": 3, "rejected": 0},
    ]


def test_the_same_rows_in_another_order_in_other_files_by_other_threads_write_nothing(world: World) -> None:
    chance = random.Random(7)
    rows = [
        f"{name},label {chance.randrange(9)},{chance.choice([1e15, 0.1, 7.7]) * chance.random()},1,false"
        for name in "abc"
        for _ in range(2_000)
    ]
    header = BOXES.split("\n", 1)[0]
    world.job["tables"]["boxes"] = "parts/*.csv"
    with_query(
        world,
        "SELECT image || '.png' AS file_name, list(label) AS l, mode(label) AS m, avg(score) AS s, "
        "arg_max(label, score) AS x, string_agg(DISTINCT label, '|') AS t FROM boxes GROUP BY image",
    )
    for parts, memory in ((1, "150MB"), (3, "1GB")):  # one thread, and as many as there are cores
        shutil.rmtree(world.root / "parts", ignore_errors=True)
        for part in range(parts):
            world.put(f"parts/{part}.csv", "\n".join([header, *rows[part::parts]]) + "\n")
        ran = world.run("sync", "job.yaml", "--set", f"memory_limit={memory}", "--format", "json")
        assert ran.code == 0, ran.err
        chance.shuffle(rows)
    assert ran.report["documents"]["keep"] == 3
    assert ran.report["documents"]["create"] + ran.report["documents"]["update"] == 0


@pytest.mark.parametrize(
    "query",
    [
        "SELECT image || '.png' AS file_name, map(list(score), list(label)) AS m FROM boxes GROUP BY image",
        "SELECT image || '.png' AS file_name, map(list(score ORDER BY scene_id), "
        "list(label ORDER BY scene_id)) AS m FROM boxes GROUP BY image",
        "SELECT DISTINCT image || '.png' AS file_name, map(list(score) OVER w, list(label) OVER w) AS m "
        "FROM boxes WINDOW w AS (PARTITION BY image)",
    ],
)
def test_what_lists_hold_in_one_place_is_of_one_row(world: World, query: str) -> None:
    world.put("boxes.csv", BOXES.replace("a,cat,0.3", "a,cat,0.1").replace("1e16", "0.7"))
    with_query(world, query.replace("score", "score::VARCHAR"))
    assert world.run("sync", "job.yaml").code == 0
    assert documents(world) == {
        "a": {"m": {"0.1": "cat", "0.3": "dog", "0.5": "car", "0.7": "car"}},
        "b": {"m": {"0.9": "cat"}},
        "c": {"m": {"0.9": "bus"}},
    }


def test_plan_shows_how_each_table_was_read(world: World) -> None:
    ran = world.run("plan", "job.yaml", "--format", "json")
    assert ran.code == 0
    shown = {table["name"]: table for table in ran.report["tables"]}
    assert list(shown) == ["boxes", "scenes", "objects"]
    assert [column["name"] for column in shown["boxes"]["columns"]] == [
        "image",
        "label",
        "score",
        "scene_id",
        "is_depiction",
    ]
    people = world.run("plan", "job.yaml").out
    assert "Tables that queries read" in people


def test_frames_come_from_an_alias_or_from_the_key_beside_the_query(world: World) -> None:
    query = (
        "SELECT image || '.png' AS file_name, NULL::INTEGER AS frame, count(*) AS n FROM boxes GROUP BY image"
    )
    assert with_query(world, query).run("sync", "job.yaml").code == 0
    assert documents(world)["a"] == {"n": 4}
    query = "SELECT image AS i, 1 AS f, count(*) AS n FROM boxes GROUP BY image"
    ran = with_query(world, query, file_name="i || '.png'", frame={"value": "f", "base": 1}).run(
        "plan", "job.yaml", "--format", "json"
    )
    assert ran.report["rejects"] == {"record.frame_invalid": 3}  # frame 0 of an image


def test_where_leaves_rows_of_a_result_out(world: World) -> None:
    with_query(world, QUERY, where="objects > 1")
    ran = world.run("sync", "job.yaml", "--format", "json")
    (source,) = ran.report["sources"]
    assert (source["read"], source["used"], source["filtered"]) == (2, 1, 1)
    assert list(documents(world)) == ["a"]


def test_several_sources_mix_tables_and_queries(world: World) -> None:
    world.put("extra.csv", "file_name,site\na.png,north\n")
    world.job["sources"].append({"table": "extra.csv"})
    world.job["sources"].append({"query": "SELECT 'a.png' AS file_name, count(*) AS scenes FROM scenes"})
    world.write_job()
    assert world.run("sync", "job.yaml").code == 0
    assert documents(world)["a"]["site"] == "north"
    assert documents(world)["a"]["scenes"] == 3
    assert documents(world)["a"]["objects"] == 3


# -- faults


def test_all_faults_of_all_expressions_are_told_at_once_with_line_and_column(world: World) -> None:
    world.put(
        "job.yaml",
        """\
input: data
tables: {boxes: boxes.csv}
sources:
  - table: scenes.csv
    file_name: lower(random())
    where: count(*) > 1
  - query: |
      SELECT image AS file_name, random() AS r,
             nofunction(1) AS x
      FROM boxes JOIN nobody USING (image)
  - query: "SELECT image AS file_name, group AS g FROM boxes"
""",
    )
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "6 faults" in ran.err
    for place in ("job.yaml:8:34", "job.yaml:9:14", "job.yaml:10:23", "job.yaml:11:"):
        assert place in ran.err
    assert 'if group is a column, write "group"' in ran.err
    assert "sources[0].where" in ran.err
    assert "sources[0].file_name" in ran.err


def test_all_that_does_not_fit_the_tables_is_told_at_once_before_a_query_is_run(world: World) -> None:
    world.put(
        "job.yaml",
        """\
input: data
tables: {boxes: boxes.csv}
sources:
  - query: SELECT image AS file_name, nothing AS a FROM boxes
  - query: SELECT image AS name, INTERVAL 1 DAY AS b FROM boxes
  - query: SELECT image AS file_name, label::INTEGER AS fails FROM boxes
""",
    )
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "3 faults" in ran.err
    assert "job.yaml:4:39" in ran.err
    assert "has no column file_name" in ran.err
    assert "b is INTERVAL" in ran.err


def test_all_expressions_that_do_not_fit_a_table_are_told_at_once(world: World) -> None:
    world.job["sources"] = [
        {"table": "boxes.csv", "file_name": "imag", "where": "score", "metadata": {"a": "lable", "b": "n"}}
    ]
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "4 faults" in ran.err


@pytest.mark.parametrize(
    ("query", "message", "advice"),
    [
        ("SELECT imag AS file_name FROM boxes", 'column "imag"', "did you mean image?"),
        ("SELECT image AS file_name, sum(label) AS s FROM boxes GROUP BY 1", "sum cannot be applied", ""),
        ("SELECT image AS f FROM boxes", "has no column file_name", ""),
        (
            "SELECT image AS file_name, 1 AS a, 2 AS A FROM boxes",
            'the columns "a" and "A" differ in letter case only',
            "another name with AS",
        ),
        (
            "SELECT image AS file_name, 1 AS a, 2 AS a FROM boxes",
            'two columns of the query are called "a"',
            "",
        ),
        ('SELECT image AS file_name, 1 AS a, 2 AS "a.b" FROM boxes', "cannot hold a value and", "with AS"),
        ("SELECT image AS file_name, count(*) FROM boxes GROUP BY 1", "has no name", "AS"),
        ("SELECT image AS file_name FROM boxes LIMIT 1", "LIMIT without ORDER BY", "ORDER BY ALL"),
        ("SELECT image AS file_name FROM box", 'no table "box"', "did you mean boxes?"),
        ("SELECT image AS file_name FROM 'boxes.csv'", 'no table "boxes.csv"', "tables:"),
        ("SELECT file_name, 1 AS x FROM media", 'no table "media"', ""),
        ("SELECT image AS file_name, INTERVAL 1 DAY AS i FROM boxes", "INTERVAL", "cast it"),
    ],
)
def test_what_is_wrong_with_a_query_is_one_clear_fault(
    world: World, query: str, message: str, advice: str
) -> None:
    ran = with_query(world, query).run("plan", "job.yaml")
    assert ran.code == 2
    assert message in ran.err
    assert advice in ran.err
    assert "sources[0].query" in ran.err or "sources[0].file_name" in ran.err


def test_a_column_whose_name_needs_quotes(world: World) -> None:
    world.put("boxes.csv", "Scan Path,on\na.png,x\n")
    ran = with_query(world, "SELECT Scan Path AS file_name FROM boxes").run("plan", "job.yaml")
    assert ran.code == 2
    assert '"Scan Path"' in ran.err
    assert 'if Scan Path is a column, write "Scan Path"' in ran.err
    ran = with_query(world, "SELECT Scan AS file_name FROM boxes").run("plan", "job.yaml")
    assert 'write "Scan Path", with its quotes' in ran.err
    query = 'SELECT "Scan Path" AS file_name, "on" AS o FROM boxes'
    assert with_query(world, query).run("sync", "job.yaml").code == 0
    assert documents(world) == {"a": {"o": "x"}}


def test_a_conversion_that_fails_is_one_fault_with_the_line_and_the_value(world: World) -> None:
    world.put(
        "job.yaml",
        """\
input: data
tables: {boxes: boxes.csv}
sources:
  - query: |
      SELECT image || '.png' AS file_name,
             max(label::INTEGER) AS n
      FROM boxes GROUP BY image
""",
    )
    ran = world.run("sync", "job.yaml")
    assert ran.code == 2
    assert "job.yaml:6:" in ran.err
    assert any(f"'{label}'" in ran.err for label in ("car", "dog", "cat", "bus"))
    assert "try_cast" in ran.err
    assert not (world.data / ".lightly").exists()


# -- rows that cannot be used


BROKEN = BOXES + "b,cat,0.9\n"


def test_a_row_that_cannot_be_read_stops_a_run_whatever_the_policy_says(world: World) -> None:
    world.put("boxes.csv", BROKEN)
    world.job["policy"] = {"max_rejects": "100%"}
    world.write_job()
    for command in ("plan", "sync"):
        ran = world.run(command, "job.yaml", "--format", "json")
        assert ran.code == 5 if command == "sync" else ran.report["exit_code"] == 5
        assert "1 row of the table boxes cannot be read" in ran.report["stopped"]
        assert "--set tables.boxes.max_rejects=1" in ran.report["advice"]
    assert not (world.data / ".lightly").exists()


def test_the_table_itself_lets_rows_be_missing_and_they_count_once(world: World) -> None:
    world.put("boxes.csv", BROKEN)
    world.job["sources"].append({"query": "SELECT 'b.png' AS file_name, count(*) AS n FROM boxes"})
    world.write_job()
    ran = world.run("sync", "job.yaml", "--set", "tables.boxes.max_rejects=1", "--format", "json")
    assert ran.code == 3
    assert ran.report["relations"][0] == {"name": "boxes", "read": 7, "rejected": 1}
    assert ran.report["findings"]["source.malformed"] == 1
    (row,) = rejects(ran.report)
    assert (row["source"], row["row"], row["code"]) == ("boxes", 8, "source.malformed")
    assert documents(world)["b"]["n"] == 6
    ran = world.run(
        "sync", "job.yaml", "--set", "tables.boxes.max_rejects=1", "--set", "policy.rejects_fail=false"
    )
    assert ran.code == 0


def test_a_table_that_no_query_reads_stops_nothing(world: World) -> None:
    world.put("scenes.csv", SCENES + "4\n")
    query = "SELECT image || '.png' AS file_name, count(*) AS n FROM boxes GROUP BY image"
    assert with_query(world, query).run("sync", "job.yaml").code == 0


def test_a_reject_names_the_query_and_the_values_of_the_row(world: World) -> None:
    query = "SELECT image || '.png' AS file_name, label AS kind, 1 AS n FROM boxes WHERE score < 1"
    ran = with_query(world, query).run("plan", "job.yaml", "--format", "json")
    assert ran.report["exit_code"] == 5
    (source,) = ran.report["sources"]
    assert (source["read"], source["used"], source["rejected"]) == (5, 2, 3)
    told = [one for one in ran.report["finding_examples"] if one["code"] == "record.duplicate"]
    assert {one["row"] for one in told} == {None}
    assert {one["source"] for one in told} == {"objects"}
    assert {one["message"] for one in told} == {
        "several rows are for .lightly/metadata/a.json: "
        'file_name "a.png", kind "car", n "1"; file_name "a.png", kind "cat", n "1"; '
        'file_name "a.png", kind "dog", n "1"'
    }


def test_unmatched_rows_and_values_of_a_wrong_type_are_named_by_their_values(world: World) -> None:
    world.put("boxes.csv", BOXES + "z,car,0.5,1,false\n")
    assert world.run("sync", "job.yaml").code == 0
    text = (
        "SELECT DISTINCT image || '.png' AS file_name, CASE WHEN image <> 'a' THEN 'many' END AS objects "
        "FROM boxes WHERE image <> 'c'"
    )
    ran = with_query(world, text).run("sync", "job.yaml", "--set", "policy.max_rejects=9", "--format", "json")
    assert ran.code == 3
    rows = rejects(ran.report)
    assert sorted(row["code"] for row in rows) == ["record.unmatched", "value.type"]
    assert {(row["source"], row["row"], row["file"]) for row in rows} == {("objects", None, "")}
    messages = sorted(row["message"] for row in rows)
    assert any('in the row with file_name "z.png", objects "many"' in message for message in messages)
    assert any('in the row with file_name "b.png", objects "many"' in message for message in messages)


def test_rows_that_say_the_same_are_used_once_and_counted(world: World) -> None:
    query = "SELECT image || '.png' AS file_name, scene_id AS scene FROM boxes"
    ran = with_query(world, query).run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0
    (source,) = ran.report["sources"]
    assert (source["read"], source["used"], source["repeated"]) == (6, 3, 3)


# -- how a run behaves


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scenes.csv", "scene_id,weather\n"),
        ("scenes.jsonl", ""),
        ("scenes.json", "[]"),
    ],
)
def test_a_table_without_rows_is_a_table(world: World, name: str, text: str) -> None:
    world.put(name, text)
    world.job["tables"]["scenes"] = name
    query = (
        "SELECT image || '.png' AS file_name, count(*) AS n, min(s.weather) AS w, max(s.scene_id + 1) AS m "
        "FROM boxes b LEFT JOIN scenes s USING (scene_id) GROUP BY image"
    )
    ran = with_query(world, query).run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    assert documents(world) == {"a": {"n": 4}, "b": {"n": 1}, "c": {"n": 1}}


def test_a_query_casts_what_its_schema_entry_wants_as_text(world: World) -> None:
    world.put("routes.csv", "file_name,route,bus\na.png,1.50,007\nb.png,2,008\n")
    world.job["tables"] = {"routes": "routes.csv"}
    entry = {"path": "route", "name": "route", "valueDataType": "CATEGORICAL_STRING", "defaultValue": "?"}
    world.job["schema"] = [entry]
    ran = with_query(world, "SELECT file_name, route FROM routes").run("sync", "job.yaml", "--format", "json")
    assert (ran.code, ran.report["rejects"]) == (5, {"value.type": 2})
    world.job["schema"].append({**entry, "path": "bus", "name": "bus"})
    query = "SELECT file_name, route::VARCHAR AS route, bus FROM routes"
    assert with_query(world, query).run("sync", "job.yaml").code == 0
    assert documents(world) == {"a": {"bus": "007", "route": "1.5"}, "b": {"bus": "008", "route": "2.0"}}


def test_a_day_without_files_pages_nobody(world: World) -> None:
    world.job["tables"]["boxes"] = "today/*.csv"
    world.write_job()
    assert world.run("sync", "job.yaml").code == 1
    ran = world.run("sync", "job.yaml", "--set", "policy.allow_empty=true", "--format", "json")
    assert ran.code == 0, ran.err
    (source,) = ran.report["sources"]
    assert source["read"] == 0
    assert "source.empty" in ran.report["findings"]


def test_prefix_and_limit_narrow_a_run(world: World) -> None:
    world.put("data/sub/a.png", b"image")
    query = "SELECT * FROM (VALUES ('a.png', 1), ('b.png', 2), ('sub/a.png', 3)) v(file_name, n)"
    with_query(world, query)
    ran = world.run("sync", "job.yaml", "--prefix", "sub/", "--format", "json")
    assert ran.code == 0, ran.err
    (source,) = ran.report["sources"]
    assert (source["used"], source["excluded"]) == (1, 2)
    ran = world.run("sync", "job.yaml", "--limit", "1", "--format", "json")
    assert ran.report["documents"]["create"] == 1
    assert ran.report["documents"]["deferred"] == 1


def test_a_kept_plan_needs_no_table_any_more(world: World) -> None:
    assert world.run("plan", "job.yaml", "--out", "kept", "--format", "json").code == 0
    (world.root / "boxes.csv").unlink()
    (world.root / "scenes.csv").unlink()
    for index in range(2):
        ran = world.run(
            "sync", "job.yaml", "--plan", "kept", "--shard-index", str(index), "--num-shards", "2"
        )
        assert ran.code == 0, ran.err
    ran = world.run("finish", "kept", "--format", "json")
    assert ran.code == 0, ran.err
    assert ran.report["relations"][0]["name"] == "boxes"
    assert documents(world)["a"]["objects"] == 3


def test_more_than_memory_allows_spills_or_is_one_clear_error(world: World) -> None:
    query = (
        "SELECT 'a.png' AS file_name, length(list(md5(r.range::VARCHAR))) AS n "
        "FROM range(400000) r UNION ALL SELECT image, 1 FROM boxes WHERE false"
    )
    ran = with_query(world, query).run("sync", "job.yaml", "--set", "memory_limit=24MB")
    if ran.code == 0:
        assert documents(world) == {"a": {"n": 400_000}}
    else:
        assert ran.code == 1
        assert "needs more memory than memory_limit allows" in ran.err


def test_secrets_of_a_table_are_nowhere_to_be_seen(world: World) -> None:
    canary = "canary-secret-0815"
    world.job["tables"]["boxes"] = {"table": "boxes.csv", "options": {"auto_mkdir": False, "secret": canary}}
    world.write_job()
    for arguments in (
        ("plan", "job.yaml", "-v"),
        ("plan", "job.yaml", "--out", "kept"),
        ("sync", "job.yaml", "-v"),
    ):
        ran = world.run(*arguments)
        assert canary not in ran.out + ran.err
    for path in world.root.rglob("*"):
        if path.is_file() and path.name != "job.yaml":
            assert canary.encode() not in path.read_bytes(), path


def test_a_program_sees_the_same(world: World) -> None:
    import metaferry

    report = metaferry.sync(Job.load(world.root / "job.yaml"))
    assert [source.read for source in report.sources] == [2]
    assert [relation.read for relation in report.relations] == [6, 3]


def test_a_query_may_have_the_name_of_its_table(world: World) -> None:
    world.put("boxes.csv", BROKEN)
    world.job["sources"] = [{"name": "boxes", "query": "SELECT image AS file_name, label FROM boxes"}]
    world.write_job()
    ran = world.run("plan", "job.yaml", "--format", "json")
    rows = [one for one in ran.report["finding_examples"] if one["code"] == "source.malformed"]
    assert [(row["source"], row["row"]) for row in rows] == [("boxes", 8)]
    assert "in the row with" not in rows[0]["message"]


def test_a_run_that_is_asked_to_stop_leaves_a_query_that_takes_hours(world: World) -> None:
    import metaferry
    from metaferry.errors import Interrupted
    from metaferry.progress import Silent, Stop

    stop = Stop()

    class Watching(Silent):
        def phase(self, name: str, total: int | None) -> None:
            if name == "Running objects":
                stop.request()

    with_query(
        world,
        "SELECT 'a.png' AS file_name, sum(sqrt(a.range * b.range)) AS n "
        "FROM range(10000000) a, range(10000000) b",
    )
    with pytest.raises(Interrupted):
        metaferry.sync(Job.load(world.root / "job.yaml"), progress=Watching(), stop=stop)
    assert not (world.data / ".lightly").exists()
