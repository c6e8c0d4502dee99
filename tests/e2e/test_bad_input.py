"""What users get wrong, through the command: the message, its place, the exit code, and nothing written."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.world import CANARIES, Ran, World
from metaferry.demo import make_dataset
from metaferry.lightly.names import SCHEMA
from unit.media import synthetic

HEAD = "file_name,scene,count\n"
LABELS = HEAD + "images/a.png,city,1\nimages/b.png,road,2\n"
FRAMES = "video,frame,speed\n"
IN_PLACE = ".lightly/metadata/images/a.json"
NUMBER = {"name": "n", "path": "count", "defaultValue": 0, "valueDataType": "NUMERIC_INT"}


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    dataset = make_dataset(tmp_path_factory.mktemp("demo"))
    return (dataset.media / dataset.images[0]).read_bytes()


@pytest.fixture(scope="module")
def clip() -> bytes:
    return synthetic.video(12)


@pytest.fixture
def world(tmp_path: Path, picture: bytes) -> World:
    """Three images, a table of two of them, one document in place that a run would change."""
    world = World(tmp_path)
    for name in ("a.png", "b.png", "Gross.png"):
        world.put(f"data/images/{name}", picture)
    world.put(f"data/{IN_PLACE}", '{"type": "image", "metadata": {"scene": "as it was"}}')
    world.put("tables/labels.csv", LABELS)
    world.job = {
        "input": "data",
        "storage": {"s3": {"key": CANARIES[0], "secret": CANARIES[1]}},
        "sources": [{"table": "tables/labels.csv"}],
    }
    return world


def with_video(world: World, clip: bytes, rows: str) -> None:
    world.put("data/videos/clip.mp4", clip)
    world.put("tables/frames.csv", FRAMES + rows)
    world.job["sources"] = [{"table": "tables/frames.csv", "file_name": "video", "frame": "frame"}]


def refused(world: World, code: int, *words: str, arguments: tuple[str, ...] = ("sync", "job.yaml")) -> Ran:
    """An error: a message on stderr with these words, nothing on stdout, nothing written."""
    if not (world.root / "job.yaml").exists():
        world.write_job()
    before = world.tree()
    ran = world.run(*arguments)
    missing = [word for word in words if word not in ran.err]
    assert (ran.code, ran.out, missing) == (code, "", []), ran.err
    assert ran.err.startswith(("error: ", "Usage: ")), ran.err
    assert world.tree() == before
    assert not any(secret in world.everything_said(ran) for secret in CANARIES)
    return ran


def stopped(world: World, *words: str, rejects: list[tuple[str, int]] | None = None) -> Ran:
    """A run that a limit stopped: exit 5, findings with these words on stdout, nothing written."""
    world.write_job()
    before = world.tree()
    ran = world.run("sync", "job.yaml")
    missing = [word for word in words if word not in ran.out]
    assert (ran.code, ran.err, missing) == (5, "", []), ran.out
    assert re.search(r"^  created +0 ", ran.out, re.MULTILINE)
    assert "schema.json is unchanged" in ran.out
    assert world.tree() == before
    if rejects is not None:
        assert sorted((row["code"], row["row"]) for row in world.rejects()) == sorted(rejects)
        # Which limit, and what would let it pass; and it does.
        assert "policy.max_rejects is 0" in ran.out
        again = world.run("sync", "job.yaml", "--set", f"policy.max_rejects={len({r for _, r in rejects})}")
        assert again.code == 3, again.out
        assert "Done, but not everything" in again.out
    assert not any(secret in world.everything_said(ran) for secret in CANARIES)
    return ran


# -- the job file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "input: data\nsorces:\n  - table: tables/labels.csv\n",
            ["job.yaml:2: sorces: unknown key", 'did you mean "sources"?', "sources: is missing"],
        ),
        (
            "input: data\nsources:\n  - table: tables/t.csv\n    filename: x\npolicy:\n  max_reject: 3\n",
            [
                "job.yaml:4: sources[0].filename",
                '"file_name"',
                "job.yaml:6: policy.max_reject",
                "max_rejects",
            ],
        ),
        (
            "input: data\nstorage:\n  s3:\n    key: ${NOT_SET_HERE}\nsources: [{table: tables/labels.csv}]\n",
            ["job.yaml:4: storage.s3.key: the environment variable NOT_SET_HERE is not set"],
        ),
        ("input: data\nsources: [\n  - table: x\n", ["job.yaml:3: column 3: not YAML"]),
        ("input: data\nsources:\n\t- table: x\n", ["job.yaml:3: column 1: not YAML", "\\t"]),
        ("- input\n- sources\n", ["job.yaml:1: should be a mapping of keys"]),
        ("", ["job.yaml: is empty"]),
    ],
    ids=["unknown", "nested", "variable", "flow", "tab", "list", "empty"],
)
def test_a_faulty_job_file_is_named_by_line_and_key(world: World, text: str, words: list[str]) -> None:
    world.put("job.yaml", text)
    refused(world, 2, *words)


def test_a_job_file_that_is_not_there_or_not_text(world: World) -> None:
    refused(world, 2, "jb.yaml: there is no such job file", "metaferry init", arguments=("sync", "jb.yaml"))
    refused(world, 2, "tables: is a folder, not a job file", "`metaferry init`", arguments=("sync", "tables"))
    world.put("tables/job.yaml", "")
    refused(world, 2, "name tables/job.yaml", arguments=("sync", "tables"))
    world.put("job.yaml", b"\xff\xfe\x00\x01")
    refused(world, 2, "job.yaml: is not UTF-8 text")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "policy.max_rejcts=3"], ["--set policy.max_rejcts: unknown key", '"max_rejects"']),
        (["--set", "policy.max_rejects"], ["should be key=value, such as policy.max_rejects=5"]),
        (["--limt", "3"], ["No such option: --limt", "--limit"]),
        (["--limit", "0"], ["--limit", "greater than or equal to 1"]),
    ],
)
def test_faulty_flags(world: World, arguments: list[str], words: list[str]) -> None:
    refused(world, 2, *words, arguments=("sync", "job.yaml", *arguments))


# -- tables and mappings


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"metadata": {"scene": "scene", "n": "count + * 2"}},
            ["sources[0].metadata.n: syntax error", "\n      count + * 2\n                ^\n"],
        ),
        ({"metadata": {"n": "1); drop table x; --"}}, ["sources[0].metadata.n: ", "\n      1); drop table"]),
        ({"metadata": {"n": "(select 1)"}}, ["sources[0].metadata.n: "]),
        ({"metadata": {"n": "sum(count)"}}, ["sources[0].metadata.n: "]),
        (
            {"metadata": {"s": "scen"}},
            [
                "sources[0].metadata.s: ",
                "has no column scen",
                "did you mean scene?",
                "\n      scen\n      ^\n",
            ],
        ),
        (
            {"file_name": "filename"},
            ["sources[0].file_name: ", "no column filename", "did you mean file_name?"],
        ),
        ({"table": "tables/label.csv"}, ["sources[0].table: there is no file ", "did you mean labels.csv"]),
        (
            {"metadata": {"n": "1 // (count - count)"}},
            ["sources[0].metadata.n: it fails for row 2 of", "zero"],
        ),
        (
            {"metadata": {"n": "cast(scene AS INTEGER)"}},
            ["sources[0].metadata.n: it fails for row 2", "city"],
        ),
    ],
    ids=["syntax", "injection", "subquery", "aggregate", "column", "name", "table", "zero", "cast"],
)
def test_a_faulty_source_is_named_by_key_and_position(
    world: World, change: dict[str, Any], words: list[str]
) -> None:
    world.source.update(change)
    refused(world, 2, *words)


def test_a_glob_without_a_match_may_be_tried_again(world: World) -> None:
    world.source["table"] = "tables/*.tsv"
    refused(world, 1, "sources[0].table: no file matches ", "labels.csv")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("labels.csv", "", ["labels.csv is empty", "name the columns"]),
        ("twice.csv", "file_name,scene,scene\nimages/a.png,1,2\n", ["columns 2 and 3 are both called scene"]),
        ("labels.xls", "x", ["labels.xls is an Excel workbook by its name", "save the sheet"]),
        ("labels.dat", "x", ["labels.dat: the format of the table cannot be told", "set format:"]),
        ("x.parquet", b"PAR1 but no more", ["x.parquet cannot be read as Parquet"]),
        ("x.csv.gz", b"\0not gzip at all", ["x.csv.gz is no whole gzip file"]),
    ],
)
def test_a_table_that_cannot_be_read_is_named(
    world: World, name: str, content: str | bytes, words: list[str]
) -> None:
    world.put(f"tables/{name}", content)
    world.source["table"] = f"tables/{name}"
    refused(world, 2, "sources[0].table: ", *words)


def test_two_sources_that_disagree_on_a_type(world: World) -> None:
    world.put("tables/more.csv", "file_name,count\nimages/a.png,many\n")
    world.job["sources"].append({"table": "tables/more.csv"})
    refused(world, 2, "count is integer in ", "labels.csv, but string in ", "more.csv", "cast")


# -- where things are


@pytest.mark.parametrize("key", ["input", "lightly"])
def test_a_folder_that_is_not_there_is_named_and_not_made(world: World, key: str) -> None:
    world.job[key] = "elsewhere"
    refused(world, 1, "/elsewhere: there is no such folder", "never creates a folder")
    assert not (world.root / "elsewhere").exists()


def test_an_unknown_scheme(world: World) -> None:
    world.job["input"] = "s4://bucket/x"
    refused(world, 2, "no file system is known for s4://", "s3://")


def test_an_input_without_media_says_so(world: World) -> None:
    shutil.rmtree(world.data / "images")
    world.job["policy"] = {**world.job.get("policy", {}), "allow_empty": True}
    world.write_job()
    ran = world.run("sync", "job.yaml")
    assert (ran.code, ran.err) == (0, "")
    assert "0 images, 0 videos" in ran.out
    assert "the input holds no media at all" in ran.out
    assert "as it was" in (world.data / IN_PLACE).read_text()
    assert "document.orphan" in ran.out


def test_a_table_with_only_a_header_changes_nothing(world: World) -> None:
    world.put("tables/labels.csv", HEAD)
    world.write_job()
    before = world.tree()
    ran = world.run("sync", "job.yaml")
    assert (ran.code, ran.err) == (0, "")
    assert "schema.uncovered" not in ran.out
    assert world.tree() == before


# -- rows


def test_a_ragged_row(world: World) -> None:
    world.put("tables/labels.csv", LABELS + "images/Gross.png,x\n")
    stopped(
        world,
        "labels.csv:4: the row has 2 cells, and the header has 3",
        "--set policy.max_rejects=1",
        rejects=[("source.malformed", 4)],
    )


def test_broken_json_and_broken_utf8_are_rows(world: World) -> None:
    world.put("tables/x.jsonl", '{"file_name": "images/a.png", "n": 1}\n{"file_name": \n')
    latin = (LABELS + "images/Gross.png,M\xfcnchen,3\n").encode("latin-1")
    world.put("tables/labels.csv", latin)
    world.job["sources"].append({"table": "tables/x.jsonl"})
    stopped(world, "x.jsonl:2: the line is not valid JSON", "labels.csv:4: scene is not UTF-8", "byte 0xfc")


def test_names_that_match_no_media_get_their_reason(world: World, picture: bytes) -> None:
    world.put(f"data/images/{unicodedata.normalize('NFD', 'brücke.png')}", picture)
    world.put(
        "tables/labels.csv",
        HEAD
        + "images/aa.png,x,1\nimages/gross.png,x,1\ndata/images/b.png,x,1\ns3://x/images/a.png,x,1\n"
        + f"images/{unicodedata.normalize('NFC', 'brücke.png')},x,1\nb.png,x,1\n",
    )
    world.job["policy"] = {"unmatched": "reject"}
    ran = stopped(world, rejects=[("record.unmatched", row) for row in range(2, 8)])
    assert world.run("plan", "job.yaml").code == 5
    ran = world.run("plan", "job.yaml", "--format", "json")
    advice = {
        f["row"]: f["advice"] for f in ran.report["finding_examples"] if f["code"] == "record.unmatched"
    }
    assert 'the nearest names are "images/a.png"' in advice[2]
    assert "letter case only" in advice[3]
    assert "images/Gross.png" in advice[3]
    assert 'the name has "data/" in front' in advice[4]
    assert "file_name: regexp_replace(file_name, '^data/', '')" in advice[4]
    assert 'the name has "s3://x/" in front' in advice[5]
    assert "NFC or NFD" in advice[6]
    assert "images/b.png" in advice[7]


def test_unmatched_rows_are_only_reported_by_default(world: World) -> None:
    world.put("tables/labels.csv", LABELS + "images/zzz.png,x,1\n")
    world.write_job()
    ran = world.run("sync", "job.yaml")
    assert ran.code == 0
    assert 'labels.csv:4: no media file is called "images/zzz.png"' in ran.out
    assert [row["row"] for row in world.rejects()] == [4]


def test_hostile_and_missing_names(world: World) -> None:
    world.put("tables/labels.csv", LABELS + "../etc/passwd,x,3\nimages/../a.png,x,1\n,x,2\n")
    stopped(
        world,
        'labels.csv:4: the file name "../etc/passwd" has a `.` or `..` segment',
        "labels.csv:6: the row names no file",
        rejects=[("name.hostile", 4), ("name.hostile", 5), ("record.unnamed", 6)],
    )


def test_frames_out_of_range(world: World, clip: bytes) -> None:
    rows = "videos/clip.mp4,12,1\nvideos/clip.mp4,-1,1\nvideos/clip.mp4,1.5,1\nimages/a.png,0,1\n"
    with_video(world, clip, rows)
    stopped(
        world,
        'frames.csv:2: frame 12 of "videos/clip.mp4", which has 12 frames (0 to 11)',
        'frames.csv:3: frame -1 of "videos/clip.mp4"',
        'frames.csv:4: the frame "1.5" is no whole number',
        'frames.csv:5: "images/a.png" is an image',
        "base: 1",
        rejects=[
            ("record.frame_out_of_range", 2),
            ("record.frame_out_of_range", 3),
            ("record.frame_invalid", 4),
            ("record.frame_invalid", 5),
        ],
    )


def test_an_unreadable_video(world: World) -> None:
    with_video(world, b"garbage" * 300, "videos/clip.mp4,0,1\nvideos/clip.mp4,1,1\n")
    stopped(
        world,
        "1 not proved",
        "videos/clip.mp4: the number of frames of this video is not known: unreadable",
        'frames.csv:2: "videos/clip.mp4": unreadable',
        rejects=[("media.unreadable", 2), ("media.unreadable", 3)],
    )


def test_a_value_that_does_not_fit_its_entry(world: World) -> None:
    world.put(f"data/{SCHEMA}", json.dumps([NUMBER]))
    world.put("tables/labels.csv", LABELS + "images/Gross.png,x,many\n")
    stopped(
        world,
        "labels.csv:4: count is many, expected a whole number",
        "schema entry",
        rejects=[("value.type", 4)],
    )


def test_an_integer_that_would_lose_digits(world: World) -> None:
    world.put("tables/labels.csv", LABELS + "images/Gross.png,x,9007199254740993\n")
    stopped(world, "labels.csv:4: count is 9007199254740993", "2^53", rejects=[("value.range", 4)])


def test_two_rows_for_one_document_are_both_named(world: World) -> None:
    world.put("tables/labels.csv", LABELS + "images/a.png,x,7\n")
    ran = stopped(world, rejects=[("record.duplicate", 2), ("record.duplicate", 4)])
    assert ran.out.count(f"several rows are for {IN_PLACE}: row 2, row 4") == 2


def test_media_that_would_share_a_document(world: World, picture: bytes) -> None:
    world.put("data/images/a.jpg", picture)
    stopped(
        world,
        'labels.csv:2: the document of "images/a.png" would be shared by "images/a.jpg" and "images/a.png"',
        "media.exclude",
        rejects=[("media.collision", 2)],
    )


# -- what is in place


def test_an_invalid_schema_json_is_refused_with_line_and_column(world: World) -> None:
    text = json.dumps(NUMBER)
    world.put(f"data/{SCHEMA}", f"[\n  {text},\n]\n")
    refused(world, 1, f"schema.json:2:{len(text) + 3}: a trailing comma", "correct it by hand")


def test_a_schema_json_that_the_consumer_would_refuse(world: World) -> None:
    world.put(f"data/{SCHEMA}", json.dumps([{**NUMBER, "defaultValue": "x"}]))
    refused(world, 1, "schema.json:1:", 'entry 1 ("n")', "NUMERIC_INT")


def test_more_orphans_than_max_delete_allows(world: World) -> None:
    world.job["policy"] = {"delete": "orphans"}
    world.put("tables/labels.csv", HEAD + "images/b.png,road,2\n")
    ran = stopped(world, "1 orphaned document of 1 would be deleted", "policy.max_delete is 10%")
    assert f"{IN_PLACE}: to be deleted: no row is for it" in ran.out
    assert "--set policy.max_delete=1" in ran.out
    again = world.run("sync", "job.yaml", "--set", "policy.max_delete=1")
    assert again.code == 0
    assert IN_PLACE not in world.tree()


# -- streams


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (lambda world: None, 0),
        (lambda world: world.put("tables/labels.csv", LABELS + "images/Gross.png,x\n"), 5),
        (lambda world: world.job.update(policy={"max_rejects": 9}), 0),
    ],
)
def test_json_is_one_object_and_equals_run_json(
    world: World, prepare: Callable[[World], Any], code: int
) -> None:
    prepare(world)
    world.write_job()
    planned = world.run("plan", "job.yaml", "--format", "json")
    assert (planned.code, planned.err) == (code, "")
    assert planned.report["exit_code"] == code
    assert world.run_folders() == []
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert (ran.code, ran.err) == (code, "")
    assert ran.report == json.loads((world.run_folders()[-1] / "run.json").read_text())
    assert ran.report["exit_code"] == code
    assert planned.report.keys() == ran.report.keys()
    for name in ("sources", "media", "findings", "job_digest", "stopped", "advice"):
        assert planned.report[name] == ran.report[name]


def test_exit_codes_of_a_plan(world: World) -> None:
    world.write_job()
    assert world.run("plan", "job.yaml").code == 0
    assert world.run("plan", "job.yaml", "--exit-code").code == 4
    assert world.run("sync", "job.yaml").code == 0
    assert world.run("plan", "job.yaml", "--exit-code").code == 0


@pytest.mark.slow
def test_the_same_as_a_process_of_its_own(world: World) -> None:
    """The tests above call `main`; here is one of each kind as the shell sees it."""
    world.write_job()
    done = world.run_process("sync", "job.yaml", "--quiet")
    assert (done.code, done.err) == (0, "")
    world.put("tables/labels.csv", LABELS + "images/Gross.png,x\n")
    done = world.run_process("sync", "job.yaml", "--format", "json")
    assert (done.code, done.err, done.report["exit_code"]) == (5, "", 5)
    world.source["metadata"] = {"n": "count +"}
    world.write_job()
    done = world.run_process("sync", "job.yaml", "--log-format", "json")
    assert (done.code, done.out) == (2, "")
    line = json.loads(done.err)
    assert "sources[0].metadata.n" in line["message"]
    assert not any(secret in world.everything_said(done) for secret in CANARIES)
