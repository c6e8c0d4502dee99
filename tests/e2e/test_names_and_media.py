"""How rows find their media: `match`, and what is advised for names that other systems write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.world import Ran, World
from metaferry.job.model import Job

MEDIA = ("front/a.png", "front/b.png", "rear/c.png", "rear/deep/d e.png", "one.png", "two/one.png")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in MEDIA:
        made.put(f"data/{name}", b"image")
    made.job = {"input": "data", "sources": [{"table": "tables/t.csv"}], "policy": {"max_rejects": "100%"}}
    return made


def sync(world: World, names: list[str], *arguments: str, command: str = "sync", **source: Any) -> Ran:
    rows = [{"path": name, "n": number} for number, name in enumerate(names)]
    world.put("tables/t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    world.job["sources"] = [
        {"table": "tables/t.jsonl", "file_name": "path", "metadata": {"n": "n"}, **source}
    ]
    world.write_job()
    return world.run(command, "job.yaml", "--format", "json", *arguments)


def documents(world: World) -> dict[str, int]:
    folder = world.data / ".lightly/metadata"
    return {
        path.relative_to(folder).as_posix().removesuffix(".json"): json.loads(path.read_bytes())["metadata"][
            "n"
        ]
        for path in folder.rglob("*.json")
        if path.name != "schema.json"
    }


def counts(ran: Ran) -> dict[str, int]:
    source = ran.report["sources"][0]
    parts = ("used", "rejected", "unmatched", "excluded", "filtered", "repeated")
    assert source["read"] == sum(source[part] for part in parts)
    return {part: source[part] for part in parts if source[part]}


def findings(ran: Ran, code: str) -> dict[int, dict[str, Any]]:
    return {one["row"]: one for one in ran.report["finding_examples"] if one["code"] == code}


# -- match


def test_a_base_name_finds_the_one_media_that_has_it(world: World) -> None:
    names = ["a.png", "/mnt/x/b.png", r"C:\data\c.png", "s3://other/d e.png", "A.png", "nobody.png"]
    ran = sync(world, names, match="basename")
    assert (ran.code, counts(ran)) == (0, {"used": 4, "unmatched": 2})
    assert documents(world) == {"front/a": 0, "front/b": 1, "rear/c": 2, "rear/deep/d e": 3}
    advice = {row: one["advice"] for row, one in findings(ran, "record.unmatched").items()}
    assert advice[5] == 'it differs in letter case only: the media is called "front/a.png"'


def test_a_base_name_that_several_media_have_names_them(world: World) -> None:
    ran = sync(world, ["a.png", "one.png", "x/one.png"], match="basename")
    assert (ran.code, counts(ran)) == (3, {"used": 1, "rejected": 2})
    found = findings(ran, "record.ambiguous")
    assert found[2]["message"] == '"one.png" is the name of several media: "one.png", "two/one.png"'
    assert "let file_name give the path below `input`" in found[3]["advice"]
    assert [(row["row"], row["code"]) for row in world.rejects()] == [
        (2, "record.ambiguous"),
        (3, "record.ambiguous"),
    ]
    assert documents(world) == {"front/a": 0}


def test_many_candidates_are_counted(world: World) -> None:
    for number in range(7):
        world.put(f"data/n{number}/same.png", b"image")
    found = findings(sync(world, ["same.png"], match="basename"), "record.ambiguous")
    assert found[1]["message"].endswith('"n3/same.png", "n4/same.png" and 2 more')


@pytest.mark.parametrize("match", ["basename", "stem"])
def test_excluded_media_have_their_names_too(world: World, match: str) -> None:
    world.job["media"] = {"exclude": ["two/**", "rear/**"]}
    name = "one.png" if match == "basename" else "one"
    ran = sync(world, [name, "c.png" if match == "basename" else "c", "a.png"], match=match)
    assert counts(ran) == {"used": 1, "rejected": 1, "excluded": 1}
    assert findings(ran, "record.ambiguous")[1]["message"].endswith('"one.png", "two/one.png"')


def test_a_name_of_which_all_media_are_excluded_is_not_meant(world: World) -> None:
    world.job["media"] = {"include": ["front/**"]}
    ran = sync(world, ["one.png", "a.png"], match="basename")
    assert (ran.code, counts(ran)) == (0, {"used": 1, "excluded": 1})
    assert "leaves out all of them" in findings(ran, "record.excluded")[1]["message"]


def test_a_stem_is_the_base_name_without_its_extension(world: World) -> None:
    world.put("data/v/cam.0001.png", b"image")
    world.put("data/v/cam.0002.png", b"image")
    ran = sync(
        world, ["a", "labels/b.xml", "c.txt", "cam.0001", "cam.0002.json", "one.xml", "e"], match="stem"
    )
    assert (ran.code, counts(ran)) == (3, {"used": 5, "rejected": 1, "unmatched": 1})
    assert documents(world) == {"front/a": 0, "front/b": 1, "rear/c": 2, "v/cam.0001": 3, "v/cam.0002": 4}


def test_a_stem_that_may_be_two_is_ambiguous(world: World) -> None:
    world.put("data/v/x.1.png", b"image")
    world.put("data/v/x.png", b"image")
    found = findings(sync(world, ["x.1"], match="stem"), "record.ambiguous")
    assert found[1]["message"] == '"x.1" is the name of several media: "v/x.1.png", "v/x.png"'


def test_rows_that_mean_one_media_are_of_one_document(world: World) -> None:
    ran = sync(world, ["a.png", "x/a.png"], match="basename")
    assert counts(ran) == {"rejected": 2}
    again = sync(world, ["a.png", "x/a.png"], match="basename", metadata={"n": "1"})
    assert counts(again) == {"used": 1, "repeated": 1}


@pytest.mark.parametrize("apart", [False, True])
def test_under_a_prefix_names_are_judged_over_all_of_the_input(world: World, apart: bool) -> None:
    if apart:
        world.job["lightly"] = "lightly"
        (world.root / "lightly").mkdir()
    root = world.root / "lightly" if apart else world.data
    names = ["a.png", "b.png", "c.png", "one.png", "nobody.png"]
    ran = sync(world, names, "--prefix", "front/", match="basename")
    # one.png lies outside twice: for this run, that is somebody else's.
    assert (ran.code, counts(ran)) == (0, {"used": 2, "unmatched": 1, "excluded": 2})
    assert {path.name for path in (root / ".lightly/metadata/front").iterdir()} == {"a.json", "b.json"}
    assert (root / ".lightly/metadata/schema.json").exists()
    world.put("data/rear/a.png", b"image")
    ran = sync(world, names, "--prefix", "front/", match="basename")
    assert counts(ran) == {"used": 1, "rejected": 1, "unmatched": 1, "excluded": 2}
    assert findings(ran, "record.ambiguous")[1]["message"].endswith('"front/a.png", "rear/a.png"')
    whole = sync(world, ["b.png", "c.png"], match="basename")
    assert counts(whole) == {"used": 2}


def test_a_prefix_leaves_documents_outside_alone(world: World) -> None:
    world.job["policy"] = {"max_rejects": "100%", "delete": "orphans", "max_delete": "100%"}
    assert sync(world, ["a.png", "b.png", "c.png"], match="basename").code == 0
    world.put("data/.lightly/metadata/rear/gone.json", "{}")
    ran = sync(world, ["a.png"], "--prefix", "front/", match="basename")
    assert ran.report["documents"]["delete"] == 1
    assert set(documents_left(world)) == {"front/a", "rear/c", "rear/gone"}


def documents_left(world: World) -> set[str]:
    folder = world.data / ".lightly/metadata"
    return {name_of(path, folder) for path in folder.rglob("*.json")} - {"schema"}


def name_of(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix().removesuffix(".json")


def test_a_kept_plan_knows_how_names_were_matched(world: World) -> None:
    names = ["a.png", "b.png"]
    assert sync(world, names, "--out", "kept", "--shards", "2", command="plan", match="basename").code == 0
    assert world.run("sync", "job.yaml", "--plan", "kept").code == 0
    assert set(documents(world)) == {"front/a", "front/b"}
    world.source["match"] = "path"
    world.write_job()
    assert world.run("sync", "job.yaml", "--plan", "kept").code == 2


def test_match_may_be_set_on_the_command_line_and_nothing_else_is_taken(world: World) -> None:
    assert counts(sync(world, ["a.png"], "--set", "sources[0].match=basename")) == {"used": 1}
    ran = sync(world, ["a.png"], match="name")
    assert ran.code == 2
    assert "sources[0].match: should be path, basename or stem" in ran.err
    job = {"input": "/in", "sources": [{"table": "/t.csv"}]}
    other = {"input": "/in", "sources": [{"table": "/t.csv", "match": "stem"}]}
    assert Job.from_mapping(job).digest() != Job.from_mapping(other).digest()


# -- names that other systems write

STRANGE = {
    "windows": (r"front\a.png", "front/a.png", "is a path of Windows"),
    "windows, absolute": (r"C:\it's\front\a.png", "front/a.png", "is a path of Windows, with"),
    "encoded": ("rear/deep/d%20e.png", "rear/deep/d e.png", "is URL-encoded"),
    "encoded url": (
        "https://host/x/rear/deep/d%20e.png",
        "rear/deep/d e.png",
        'is URL-encoded, with "https://host/x/" in front',
    ),
    "blanks": ("  front/a.png ", "front/a.png", "has blanks around it"),
    "newline": ("front/a.png\n", "front/a.png", "has blanks around it"),
    "all of it": (
        "\tC:\\x\\rear\\deep\\d%20e.png ",
        "rear/deep/d e.png",
        "has blanks around it and is URL-encoded and is a path of Windows, with",
    ),
    "above": ("../data/front/a.png", "front/a.png", 'has "../data/" in front'),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_the_advice_is_the_line_that_makes_the_name_right(world: World, kind: str) -> None:
    name, path, says = STRANGE[kind]
    ran = sync(world, [name, "front/b.png"])
    (finding,) = [one for one in ran.report["finding_examples"] if one["row"] == 1]
    assert finding["code"] in ("name.hostile", "record.unmatched")
    assert f"the name {says}" in finding["advice"]
    assert finding["advice"].endswith(f' makes it "{path}"')
    line = finding["advice"].split(": ", 1)[1].rpartition(" makes it ")[0]
    expression = yaml.safe_load(line)["file_name"]
    fixed = sync(world, [name, "front/b.png"], file_name=f"CASE WHEN n = 0 THEN {expression} ELSE path END")
    assert (fixed.code, counts(fixed)) == (0, {"used": 2})
    assert path.removesuffix(".png") in documents(world)


@pytest.mark.parametrize("kind", ["encoded url", "blanks", "encoded"])
def test_where_all_names_are_so_the_run_stops_with_the_line_to_write(world: World, kind: str) -> None:
    name, path, _ = STRANGE[kind]
    ran = sync(world, [name])
    assert ran.code == 5
    line = ran.report["advice"].split(f' makes it "{path}"')[0]
    fixed = sync(world, [name], file_name=yaml.safe_load(line)["file_name"])
    assert (fixed.code, counts(fixed)) == (0, {"used": 1})


def test_the_advice_wraps_the_expression_that_the_job_has(world: World) -> None:
    ran = sync(world, [r"front\a", "front/b"], file_name="path || '.png'")
    (finding,) = findings(ran, "name.hostile").values()
    line = finding["advice"].split(": ", 1)[1].rpartition(" makes it ")[0]
    assert yaml.safe_load(line)["file_name"] == r"replace(path || '.png', '\', '/')"
