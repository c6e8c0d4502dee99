"""A fault of an expression names its line and column in the job file, and all are told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.world import World

TABLE = "file_name,scene,speed,nr\na.png,city,1.5,0\nb.png,,fast,1\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in ("a.png", "b.png"):
        made.put(f"data/{name}", b"image")
    made.put("t.csv", TABLE)
    return made


def places(world: World, job: str, *arguments: str) -> list[str]:
    """The beginnings of the faults, to where the message begins."""
    world.put("job.yaml", job)
    ran = world.run("plan", "job.yaml", *arguments)
    assert ran.code == 2, ran.err
    lines = [line.removeprefix("error: ").strip() for line in ran.err.splitlines()]
    return [line.partition(": ")[0] + " " + line.split(": ")[1] for line in lines if ": sources[" in line]


def test_the_form_of_every_expression(world: World) -> None:
    job = """\
input: data
sources:
  - table: t.csv
    where: count(*) > 1
    file_name: 'lower(file_name'
    frame: {from: (nr, to: "nr nr"}
    metadata:
      scene: |
        CASE WHEN scene = 'city'
        THEN lowr(scene) END
      weather.temperature: max(speed)
"""
    assert places(world, job) == [
        "job.yaml:4:12 sources[0].where",
        "job.yaml:5:32 sources[0].file_name",
        "job.yaml:6:22 sources[0].frame.from",
        "job.yaml:6:32 sources[0].frame.to",
        "job.yaml:10:14 sources[0].metadata.scene",
        "job.yaml:11:28 sources[0].metadata.weather.temperature",
    ]


@pytest.mark.parametrize(
    ("frame", "place"),
    [
        ("frame: no", "7:12 sources[0].frame"),
        ("frame: {value: 1 + no, base: 1}", "7:24 sources[0].frame"),
        ("frame: {seconds: no}", "7:22 sources[0].frame.seconds"),
        ("frame: {seconds: {at: no}}", "7:27 sources[0].frame.seconds"),
        ("frame: {seconds: {from: 0, until: no}}", "7:39 sources[0].frame.seconds.until"),
    ],
)
def test_columns_that_the_table_does_not_have(world: World, frame: str, place: str) -> None:
    job = f"""\
input: data
sources:
  - table: t.csv
    where: speed IS NOT NULL AND scen = 'city'
    metadata: {{s: SCENE, t: upper(scne)}}
    file_name: filename
    {frame}
"""
    assert sorted(places(world, job)) == sorted(
        [
            "job.yaml:4:34 sources[0].where",
            "job.yaml:6:16 sources[0].file_name",
            f"job.yaml:{place}",
            "job.yaml:5:35 sources[0].metadata.t",
        ]
    )


def test_a_value_that_fails(world: World) -> None:
    job = "input: data\nsources:\n  - {table: t.csv, metadata: {s: 'speed::DOUBLE'}}\n"
    assert places(world, job) == ["job.yaml:3:35 sources[0].metadata.s"]


def test_what_the_file_leaves_to_the_default_is_in_the_line_of_its_source(world: World) -> None:
    world.put("t.csv", TABLE.replace("file_name", "image"))
    job = "input: data\nsources:\n  - table: t.csv\n    name: labels\n"
    assert places(world, job) == ["job.yaml:3 sources[0].file_name"]


def test_a_variable_makes_another_text_of_it(world: World) -> None:
    job = "input: data\nsources:\n  - table: t.csv\n    where: ${METAFERRY_NO_COLUMN:-a_long_name} > 1\n"
    assert places(world, job) == ["job.yaml:4 sources[0].where"]


def test_a_flag_is_in_no_line(world: World) -> None:
    job = "input: data\nsources:\n  - table: t.csv\n    where: nr = 1\n    metadata: {s: scene}\n"
    world.put("job.yaml", job)
    for flag in ("sources[0].where=scen = 1", "sources[0].metadata={s: scen}", "sources[0].metadata.s=scen"):
        ran = world.run("plan", "job.yaml", "--set", flag)
        assert ran.code == 2
        assert "error: sources[0]." in ran.err, ran.err


def test_a_source_of_several_names_its_own_line(world: World) -> None:
    world.put("u.csv", TABLE)
    first = "  - table: t.csv\n    metadata: {a: scene}\n"
    job = f"input: data\nsources:\n{first}  - table: u.csv\n    where: scen > 1\n"
    assert places(world, job) == ["job.yaml:6:12 sources[1].where"]


def test_doctor_names_the_place_of_the_source_that_it_tries(world: World) -> None:
    text = (
        "input: data\ntables: {t: t.csv}\nsources:\n  - table: t.csv\n    where: scen > 1\n"
        "  - query: SELECT file_name, scen FROM t\n"
    )
    world.put("job.yaml", text)
    said = world.run("doctor", "job.yaml").out
    assert "job.yaml:5:12: sources[0].where" in said, said
    assert "job.yaml:6:30: " in said, said
