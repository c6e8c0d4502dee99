"""Rows that speak of many frames: ranges and seconds become records, or a reject that names the frames."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.world import Ran, World
from unit.media import synthetic

PARTS = ("used", "rejected", "unmatched", "excluded", "filtered", "repeated")
RANGE = {"from": "start", "to": "stop"}


@cache
def video(frames: int, pts: tuple[int, ...] | None = None) -> bytes:
    return synthetic.video(frames, pts=pts)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Ten frames at 25 a second, four at odd times, and an image."""
    made = World(tmp_path)
    made.put("data/clip.mp4", video(10))
    made.put("data/odd.mp4", video(4, (0, 100, 1000, 1100)))
    made.put("data/a.png", b"image")
    made.job = {"input": "data", "policy": {"max_rejects": "100%"}}
    return made


def sync(world: World, rows: list[dict[str, Any]], frame: Any, *arguments: str, **more: Any) -> Ran:
    world.put("tables/t.jsonl", "".join(json.dumps({"file_name": "clip.mp4", **row}) + "\n" for row in rows))
    source = {"table": "tables/t.jsonl", "frame": frame, "metadata": {"label": "label"}}
    world.job["sources"] = [{**source, **more}]
    world.write_job()
    return world.run("sync", "job.yaml", "--format", "json", *arguments)


def counts(ran: Ran) -> dict[str, int]:
    assert ran.code in (0, 3), ran.err
    source = ran.report["sources"][0]
    assert source["read"] == sum(source[part] for part in PARTS)
    return {part: source[part] for part in PARTS if source[part]}


def labels(world: World, video: str = "clip") -> dict[str, Any]:
    """The label of each document of a video, by what follows the video's name."""
    folder = world.data / ".lightly/metadata"
    found = {
        path.stem.removeprefix(video).removesuffix("-mp4"): path for path in folder.glob(f"{video}*.json")
    }
    return {
        name.lstrip("-"): json.loads(path.read_bytes())["metadata"]["label"] for name, path in found.items()
    }


def messages(ran: Ran) -> dict[int, str]:
    """By row, of rejects: the code and the message."""
    return {
        one["row"]: f"{one['code']}: {one['message']}"
        for one in ran.report["finding_examples"]
        if one["severity"] == "error" and one["row"] is not None
    }


def frames(*numbers: int, digits: int = 2) -> list[str]:
    return [f"{number:0{digits}}" for number in numbers]


@pytest.mark.parametrize(
    ("frame", "start", "stop", "expected"),
    [
        (RANGE, 2, 4, [2, 3, 4]),
        ({**RANGE, "base": 1}, 2, 4, [1, 2, 3]),
        ({"from": "start", "until": "stop"}, 2, 4, [2, 3]),
        ({"from": "start", "until": "stop", "base": 1}, 1, 11, list(range(10))),
        ({"from": "start * 2", "to": "start * 2 + stop"}, 3, 1, [6, 7]),
        (RANGE, 9, 9, [9]),
        (RANGE, "3", "4.0", [3, 4]),
        (RANGE, 3.0, 4.0, [3, 4]),
    ],
)
def test_a_range_is_a_record_a_frame(
    world: World, frame: dict[str, Any], start: Any, stop: Any, expected: list[int]
) -> None:
    ran = sync(world, [{"start": start, "stop": stop, "label": "x"}], frame)
    assert (ran.code, counts(ran)) == (0, {"used": 1})
    assert labels(world) == dict.fromkeys(frames(*expected), "x")
    assert world.run("sync", "job.yaml", "--format", "json").report["documents"]["keep"] == len(expected)


def test_both_ends_null_are_the_whole_video_and_one_is_a_reject(world: World) -> None:
    rows = [
        {"start": None, "stop": None, "label": "all"},
        {"start": 1, "stop": None, "label": "x"},
        {"start": None, "stop": 3, "label": "x"},
        {"start": 4, "stop": 3, "label": "x"},
        {"start": 1.5, "stop": 3, "label": "x"},
        {"start": 0, "stop": 1, "label": "mine"},
    ]
    ran = sync(world, rows, RANGE)
    assert counts(ran) == {"used": 2, "rejected": 4}
    assert labels(world) == {"": "all", "00": "mine", "01": "mine"}
    assert messages(ran) == {
        2: 'record.frame_invalid: the range that begins at "1.0" has no end',
        3: 'record.frame_invalid: the range that ends at "3" has no beginning',
        4: "record.frame_invalid: the range 4.0 to 3 ends before it begins",
        5: 'record.frame_invalid: "1.5" is no whole number',
    }


def test_a_range_that_leaves_the_video_is_rejected_with_the_frames_named(world: World) -> None:
    rows = [
        {"start": 8, "stop": 12, "label": "x"},
        {"start": -2, "stop": 1, "label": "x"},
        {"start": -1, "stop": 10, "label": "x"},
        {"start": 20, "stop": 30, "label": "x"},
        {"start": 0, "stop": 0, "label": "ok"},
    ]
    ran = sync(world, rows, RANGE)
    assert (ran.code, counts(ran)) == (3, {"used": 1, "rejected": 4})
    there = 'of "clip.mp4", which has 10 frames (0 to 9)'
    code = "record.frame_out_of_range"
    assert messages(ran) == {
        1: f"{code}: frames 8 to 12 {there}: missing 10 to 12",
        2: f"{code}: frames -2 to 1 {there}: missing -2 to -1",
        3: f"{code}: frames -1 to 10 {there}: missing -1 and 10",
        4: f"{code}: frames 20 to 30 {there}: missing 20 to 30",
    }
    assert labels(world) == {"00": "ok"}
    assert [row["value"] for row in world.rejects()] == ["8 to 12", "-2 to 1", "-1 to 10", "20 to 30"]


def test_documents_of_a_rejected_range_stay(world: World) -> None:
    world.job["policy"] |= {"delete": "orphans", "max_delete": "100%"}
    assert sync(world, [{"start": 0, "stop": 9, "label": "x"}], RANGE).code == 0
    ran = sync(world, [{"start": 5, "stop": 12, "label": "y"}, {"start": 0, "stop": 1, "label": "x"}], RANGE)
    assert (ran.code, ran.report["documents"]["delete"]) == (3, 0)
    assert len(labels(world)) == 10
    ran = sync(world, [{"start": 0, "stop": 1, "label": "x"}], RANGE)
    assert (ran.code, ran.report["documents"]["delete"]) == (0, 8)


def test_ranges_that_overlap_with_other_values_are_rejected_with_the_query_to_write(world: World) -> None:
    rows = [
        {"start": 0, "stop": 4, "label": "x"},
        {"start": 3, "stop": 6, "label": "y"},
        {"start": 8, "stop": 9, "label": "z"},
    ]
    ran = sync(world, rows, RANGE)
    assert (ran.code, counts(ran)) == (3, {"used": 1, "rejected": 2})
    assert messages(ran) == {
        1: 'record.duplicate: several rows say different things of frames 3 to 4 of "clip.mp4": row 1, row 2',
        2: 'record.duplicate: several rows say different things of frames 3 to 4 of "clip.mp4": row 1, row 2',
    }
    assert labels(world) == {"08": "z", "09": "z"}
    (advice,) = {one["advice"] for one in ran.report["finding_examples"] if one["code"] == "record.duplicate"}
    tables, query, frame = map(yaml.safe_load, advice[advice.index("tables: ") :].split("; "))
    world.job |= {"sources": [query | frame], **tables}
    world.write_job()
    fixed = world.run("sync", "job.yaml", "--format", "json")
    assert (fixed.code, counts(fixed)) == (0, {"used": 9}), fixed.err
    assert labels(world) == {f"{n:02}": label for n, label in [*enumerate("xxxyyyy"), (8, "z"), (9, "z")]}


def test_ranges_that_overlap_and_say_the_same_are_used(world: World) -> None:
    rows = [
        {"start": 0, "stop": 4, "label": "x"},
        {"start": 3, "stop": 6, "label": "x"},
        {"start": 2, "stop": 5, "label": "x"},
        {"start": 0, "stop": 4, "label": "x"},
    ]
    ran = sync(world, rows, RANGE)
    assert (ran.code, counts(ran)) == (0, {"used": 2, "repeated": 2})
    assert labels(world) == dict.fromkeys(frames(*range(7)), "x")


def test_a_value_that_does_not_fit_rejects_the_row_once(world: World) -> None:
    assert sync(world, [{"start": 0, "stop": 9, "label": 1}], RANGE).code == 0
    rows = [{"start": 0, "stop": 4, "label": "many"}, {"start": 5, "stop": 9, "label": "2"}]
    ran = sync(world, rows, RANGE)
    assert (ran.code, counts(ran)) == (3, {"used": 1, "rejected": 1})
    assert [(row["row"], row["code"]) for row in world.rejects()] == [(1, "value.type")]
    assert labels(world) == {**dict.fromkeys(frames(*range(5)), 1), **dict.fromkeys(frames(*range(5, 10)), 2)}


def test_a_collision_of_one_frame_rejects_the_row(world: World) -> None:
    world.put("data/clip-05-mp4.png", b"image")
    ran = sync(world, [{"start": 4, "stop": 6, "label": "x"}, {"start": 7, "stop": 8, "label": "y"}], RANGE)
    assert counts(ran) == {"used": 1, "rejected": 1}
    assert messages(ran)[1].startswith("media.collision")
    assert labels(world) == {"07": "y", "08": "y"}


def test_ranges_of_images_and_strangers(world: World) -> None:
    rows = [
        {"file_name": "a.png", "start": 0, "stop": 1, "label": "x"},
        {"file_name": "no.mp4", "start": 0, "stop": 1, "label": "x"},
        {"file_name": "odd.mp4", "start": 0, "stop": 1, "label": "x"},
        {"start": 0, "stop": 0, "label": "filtered"},
        {"start": 0, "stop": 0, "label": "ok"},
    ]
    world.job["media"] = {"exclude": ["odd.mp4"]}
    ran = sync(world, rows, RANGE, where="label <> 'filtered'")
    assert counts(ran) == {"used": 1, "rejected": 1, "unmatched": 1, "excluded": 1, "filtered": 1}
    assert messages(ran)[1] == 'record.frame_invalid: "a.png" is an image: it has no frames'


def test_a_long_range_comes_in_blocks(world: World) -> None:
    world.put("data/long.mp4", video(5000))
    rows = [
        {"file_name": "long.mp4", "start": 1, "stop": 4998, "label": "x"},
        {"file_name": "long.mp4", "start": 4999, "stop": 4999, "label": "y"},
    ]
    ran = sync(world, rows, RANGE)
    assert counts(ran) == {"used": 2}
    assert ran.report["documents"]["create"] == 4999
    assert (labels(world, "long")["0001"], labels(world, "long")["4999"]) == ("x", "y")


# -- seconds


@pytest.mark.parametrize(
    ("second", "expected"),
    [(0, 0), (0.04, 1), (0.05, 1), (0.061, 2), ("0.36", 9), (0.8, 9), (-0.2, 0), (0.1, 2)],
)
def test_a_time_is_the_nearest_frame(world: World, second: Any, expected: int) -> None:
    ran = sync(world, [{"t": second, "label": "x"}], {"seconds": "t"})
    assert (ran.code, counts(ran)) == (0, {"used": 1})
    assert labels(world) == {f"{expected:02}": "x"}


def test_times_are_the_true_ones_of_the_video(world: World) -> None:
    rows = [{"file_name": "odd.mp4", "t": t, "label": str(t)} for t in (0.04, 0.3, 0.6, 1.06)]
    ran = sync(world, rows, {"seconds": "t"})
    assert counts(ran) == {"used": 4}
    assert labels(world, "odd") == {"0": "0.04", "1": "0.3", "2": "0.6", "3": "1.06"}


def test_a_time_far_from_any_frame_is_rejected(world: World) -> None:
    rows = [{"t": 5, "label": "x"}, {"t": 0, "label": "ok"}, {"t": None, "label": "all"}]
    ran = sync(world, rows, {"seconds": "t"})
    assert counts(ran) == {"used": 2, "rejected": 1}
    assert messages(ran) == {
        1: 'record.frame_out_of_range: no frame of "clip.mp4" is shown within 0.5 s of 5.0 s: the nearest is '
        "frame 9, 4.64 s away"
    }
    again = sync(world, [{"t": 5, "label": "x"}], {"seconds": "t", "max_gap": 5})
    assert counts(again) == {"used": 1}
    narrow = sync(world, [{"t": 0.055, "label": "x"}], {"seconds": "t", "max_gap": 0.01})
    assert counts(narrow) == {"rejected": 1}


@pytest.mark.parametrize(
    ("seconds", "start", "stop", "expected"),
    [
        ({"from": "start", "to": "stop"}, 0.04, 0.12, [1, 2, 3]),
        ({"from": "start", "until": "stop"}, 0.04, 0.12, [1, 2]),
        ({"from": "start", "until": "stop"}, 0.3, 0.4, [7, 8, 9]),  # to the end of the video
        ({"from": "start", "to": "stop"}, 0.3, 0.4, [7, 8, 9]),
    ],
)
def test_a_range_of_times(
    world: World, seconds: dict[str, str], start: float, stop: float, expected: list[int]
) -> None:
    ran = sync(world, [{"start": start, "stop": stop, "label": "x"}], {"seconds": seconds})
    assert (ran.code, counts(ran)) == (0, {"used": 1})
    assert sorted(labels(world)) == frames(*expected)


def test_ranges_of_times_that_share_their_ends_get_the_line_that_parts_them(world: World) -> None:
    rows = [{"start": 0, "stop": 0.2, "label": "x"}, {"start": 0.2, "stop": 0.4, "label": "y"}]
    ran = sync(world, rows, {"seconds": {"from": "start", "to": "stop"}})
    assert counts(ran) == {"rejected": 2}
    (advice,) = {one["advice"] for one in ran.report["finding_examples"] if one["code"] == "record.duplicate"}
    line = yaml.safe_load(advice[advice.index("frame: ") :])
    assert counts(sync(world, rows, line["frame"])) == {"used": 2}
    assert labels(world) == {
        **dict.fromkeys(frames(*range(5)), "x"),
        **dict.fromkeys(frames(*range(5, 10)), "y"),
    }


def test_ranges_of_times_that_adjoin_share_no_frame(world: World) -> None:
    edges = [0, 0.081, 0.2, 0.2000001, 0.4]
    rows = [{"start": a, "stop": b, "label": str(n)} for n, (a, b) in enumerate(pairwise(edges))]
    ran = sync(world, rows, {"seconds": {"from": "start", "until": "stop"}})
    # The third holds no frame; the others have each frame once.
    assert counts(ran) == {"used": 3, "rejected": 1}
    assert messages(ran)[3] == "record.frame_invalid: no frame is shown in the range 0.2 until 0.2000001"
    assert labels(world) == {
        **dict.fromkeys(frames(0, 1), "0"),
        **dict.fromkeys(frames(2, 3, 4), "1"),
        **dict.fromkeys(frames(5, 6, 7, 8, 9), "3"),
    }


def test_times_that_are_none(world: World) -> None:
    rows = [{"t": "soon", "label": "x"}, {"t": "NaN", "label": "x"}, {"t": "0", "label": "ok"}]
    ran = sync(world, rows, {"seconds": "t"})
    assert counts(ran) == {"used": 1, "rejected": 2}
    assert messages(ran)[1] == 'record.frame_invalid: "soon" is no number of seconds'


def test_a_source_by_time_and_one_by_index_of_the_same_video(world: World) -> None:
    world.put("tables/u.jsonl", json.dumps({"file_name": "clip.mp4", "n": 3, "other": 1}) + "\n")
    rows = [{"t": 0.12, "label": "x"}]
    sync(world, rows, {"seconds": "t"})
    world.job["sources"].append({"table": "tables/u.jsonl", "frame": "n"})
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.out
    document = json.loads((world.data / ".lightly/metadata/clip-03-mp4.json").read_bytes())
    assert document["metadata"] == {"label": "x", "other": 1}


# -- the key


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ({"from": "a"}, "sources[0].frame: a range has one end: `to`, which is included, or `until`"),
        ({"from": "a", "to": "b", "until": "c"}, "and here are both"),
        ({"to": "b"}, "`value`, `from`, `seconds`, and has none of them"),
        ({"value": "n", "from": "a", "to": "b"}, "and has `value` and `from`"),
        ({"seconds": "t", "base": 1}, "`base` is of indices, and `seconds` has none"),
        ({"value": "n", "max_gap": 1}, "`max_gap` is for `seconds`"),
        ({"seconds": {"from": "a"}}, "sources[0].frame.seconds: a range has one end"),
        ({"seconds": {"form": "a"}}, 'unknown key; did you mean "from"?'),
        ({"form": "a", "to": "b"}, 'unknown key; did you mean "from"?'),
    ],
)
def test_a_frame_that_means_nothing_is_a_fault_with_its_place(world: World, frame: Any, says: str) -> None:
    ran = sync(world, [{"label": "x"}], frame)
    assert ran.code == 2
    assert says in ran.err


def test_expressions_of_ends_have_their_places(world: World) -> None:
    rows = [{"start": 0, "stop": 1, "label": "x"}]
    ran = sync(world, rows, {"from": "strat", "to": "stop"})
    assert "sources[0].frame.from: " in ran.err
    assert "did you mean start?" in ran.err
    ran = sync(world, rows, {"seconds": {"from": "start", "until": "[stop]"}})
    assert "sources[0].frame.seconds.until: a time in seconds cannot be BIGINT[]" in ran.err


def test_a_range_by_flags(world: World) -> None:
    flags = ("--set", "sources[0].frame.to=stop + 1", "--set", "sources[0].frame.base=1")
    ran = sync(world, [{"start": 2, "stop": 3, "label": "x"}], RANGE, *flags)
    assert (ran.code, sorted(labels(world))) == (0, frames(1, 2, 3))


def test_shards_and_a_prefix_know_ranges(world: World) -> None:
    rows = [
        {"start": 0, "stop": 9, "label": "x"},
        {"file_name": "odd.mp4", "start": 0, "stop": 3, "label": "y"},
    ]
    ran = sync(world, rows, RANGE, "--prefix", "clip")
    assert counts(ran) == {"used": 1, "excluded": 1}
    assert world.run("plan", "job.yaml", "--out", "kept", "--shards", "3").code == 0
    for index in ("0", "1"):
        plan = ("sync", "job.yaml", "--plan", "kept", "--num-shards", "2", "--shard-index", index)
        assert world.run(*plan).code == 0
    assert world.run("finish", "kept").code == 0
    assert len(labels(world)) == 10
    assert labels(world, "odd") == dict.fromkeys("0123", "y")


def test_a_limit_bounds_documents_and_not_rows(world: World) -> None:
    ran = sync(world, [{"start": 0, "stop": 9, "label": "x"}], RANGE, "--limit", "3")
    assert counts(ran) == {"used": 1}
    assert (ran.report["documents"]["create"], ran.report["documents"]["deferred"]) == (3, 7)


def test_a_query_may_give_ranges_and_be_matched_by_base_name(world: World) -> None:
    world.put("tables/s.csv", "video,start,stop,label\n/mnt/clip.mp4,0,1,x\nclip.mp4,2,3,y\nclip.mp4,9,9,z\n")
    query = "SELECT video AS file_name, start, stop, label FROM s"
    world.job["tables"] = {"s": "tables/s.csv"}
    source = {"query": query, "frame": RANGE, "match": "basename", "where": "label <> 'z'"}
    world.job["sources"] = [source]
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert (ran.code, counts(ran)) == (0, {"used": 2, "filtered": 1}), ran.out
    assert labels(world) == {"00": "x", "01": "x", "02": "y", "03": "y"}
