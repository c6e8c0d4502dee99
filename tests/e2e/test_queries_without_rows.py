"""Queries over tables that have no rows today: a misspelt name is a fault, a type is none."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from e2e.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in "ab":
        made.put(f"data/{name}.png", b"image")
    made.put("boxes.csv", "image,scene_id\na,1\na,2\nb,1\n")
    made.put("scenes.csv", HEADER + "1,dry\n2,wet\n")
    made.job = {"input": "data", "tables": {"boxes": "boxes.csv", "scenes": "scenes.csv"}}
    return made


def with_query(world: World, query: str) -> World:
    world.job["sources"] = [{"name": "objects", "query": query}]
    world.write_job()
    return world


HEADER = "scene_id,weather\n"
OF_SCENES = "SELECT b.image AS file_name, {} FROM boxes b LEFT JOIN scenes s USING (scene_id)"


def without_rows(world: World, kind: str) -> None:
    """`scenes` as a table that has columns and no rows."""
    if kind == "parquet":
        schema = pa.schema({"scene_id": pa.int64(), "weather": pa.string()})
        pq.write_table(pa.Table.from_batches([], schema), world.root / "scenes.parquet")
    elif kind == "pandas":
        schema = pa.schema({"scene_id": pa.null(), "weather": pa.null()})
        pq.write_table(pa.Table.from_batches([], schema), world.root / "scenes.parquet")
    else:
        world.put("scenes.csv", HEADER + ("1\n" if kind == "malformed" else ""))
    name = "scenes.parquet" if kind in ("parquet", "pandas") else "scenes.csv"
    world.job["tables"]["scenes"] = {"table": name, **({"max_rejects": 1} if kind == "malformed" else {})}


@pytest.mark.parametrize("kind", ["csv", "malformed", "parquet", "pandas"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("min(wether) AS w", 'column "wether" not found'),
        ("max(s.wether) AS w", 'does not have a column named "wether"'),
        ("max(scene.weather) AS w", 'table "scene" not found'),
        ("max(s.weather) FILTER (scenid > 1) AS w", 'column "scenid" not found'),
        ("list_transform(list(s.weather ORDER BY ALL), lambda x: wether) AS w", 'column "wether" not found'),
    ],
)
def test_a_misspelt_column_is_a_fault_on_a_day_without_rows_too(
    world: World, kind: str, value: str, message: str
) -> None:
    query = OF_SCENES.format(value) + " GROUP BY b.image"
    told = []
    for table in ("full", kind):
        if table != "full":
            without_rows(world, kind)
        ran = with_query(world, query).run("plan", "job.yaml")
        assert (ran.code, message in ran.err) == (2, True), ran.err
        told.append(ran.err.partition("sources[0].query")[2])
    assert told[0] == told[1]


def test_so_is_one_of_a_star_or_of_using(world: World) -> None:
    without_rows(world, "csv")
    for query, message in [
        ("SELECT * EXCLUDE (wether), weather AS file_name FROM scenes", "wether"),
        ("SELECT image AS file_name FROM boxes JOIN scenes USING (scene)", '"scene" does not exist'),
    ]:
        ran = with_query(world, query).run("plan", "job.yaml")
        assert (ran.code, message in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("kind", ["csv", "parquet", "pandas"])
@pytest.mark.parametrize(
    "value",
    [
        "min(upper(weather)) AS w",
        "max(s.weather + 1) AS w",
        "sum(s.scene_id) AS w",
        "max(weather::DATE) AS w",
        "first(s.weather ORDER BY s.scene_id) AS w",
    ],
)
def test_types_that_nobody_can_tell_are_no_fault(world: World, kind: str, value: str) -> None:
    without_rows(world, kind)
    ran = with_query(
        world, OF_SCENES.format(value).replace("b.image", "b.image || '.png'", 1) + " GROUP BY 1"
    )
    assert ran.run("sync", "job.yaml").code == 0


def test_fields_of_a_struct_are_known_where_the_file_has_their_names(world: World) -> None:
    box = pa.struct({"x": pa.int64(), "y": pa.int64()})
    for kind, said in ((box, 2), (pa.null(), 0)):
        pq.write_table(
            pa.Table.from_batches([], pa.schema({"name": pa.string(), "box": kind})), world.root / "s.parquet"
        )
        world.job["tables"]["shapes"] = "s.parquet"
        for query, code in (
            ("SELECT name AS file_name, x FROM (SELECT name, unnest(box) FROM shapes)", 0),
            ("SELECT name AS file_name, x FROM (SELECT name, box.* FROM shapes)", 0),
            ("SELECT name AS file_name, z FROM (SELECT name, box.* FROM shapes)", said),
        ):
            ran = with_query(world, query).run("plan", "job.yaml")
            assert ran.code == code, (query, ran.err)


def test_where_no_column_can_be_known_nothing_is_said(world: World) -> None:
    world.put("scenes.jsonl", "")
    world.job["tables"]["scenes"] = "scenes.jsonl"
    ran = with_query(world, OF_SCENES.format("min(s.wether) AS w") + " GROUP BY ALL").run("plan", "job.yaml")
    assert ran.code in (0, 5), ran.err
