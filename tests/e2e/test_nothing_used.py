"""No run says that it is done when it did nothing: what is empty or matches nothing stops it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.world import Ran, World
from metaferry.job.model import Job


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in ("front/a", "front/b", "rear/c"):
        made.put(f"data/{name}.png", b"image")
    made.put("tables/t.csv", "path,scene\n/mnt/fleet/front/a.png,tunnel\n/mnt/fleet/front/b.png,city\n")
    made.job = {"input": "data", "sources": [{"table": "tables/t.csv", "file_name": "path"}]}
    made.write_job()
    return made


def stopped(ran: Ran) -> dict[str, Any]:
    assert ran.code == 5
    report = ran.report
    assert report["exit_code"] == 5
    if report["finished"]:  # a sync, whose report says what was done
        assert not report["schema"]["written"]
        assert report["documents"]["create"] == 0
    return report


def nothing_is_written(world: World) -> bool:
    return not (world.data / ".lightly").exists()


def advised_line(report: dict[str, Any], key: str) -> str:
    """What the advice says to write for a key of the job, as YAML reads it."""
    advice = report["advice"]
    line = advice[advice.index(f"{key}: ") :]
    for end in (" makes ", "; ", "?", " or "):
        line = line.split(end)[0]
    value = yaml.safe_load(line)[key]
    assert isinstance(value, str)
    return value


@pytest.mark.parametrize("command", ["plan", "sync"])
def test_a_table_of_which_no_row_is_used_stops_before_the_first_write(world: World, command: str) -> None:
    report = stopped(world.run(command, "job.yaml", "--format", "json"))
    assert "none of the 2 rows of" in report["stopped"]
    assert '2 unmatched, such as "/mnt/fleet/front/a.png"' in report["stopped"]
    assert "--set policy.allow_empty=true" in report["advice"]
    assert report["findings"]["source.unused"] == 1
    assert (report["sources"][0]["used_share"], report["media"]["coverage"]) == (0.0, 0.0)
    assert nothing_is_written(world)


NAMES: dict[str, tuple[list[str], str, str]] = {
    # names in the table, the expression that is advised, the input that is advised
    "absolute": (
        ["/mnt/it's/front/a.png", "/mnt/it's/rear/c.png"],
        "regexp_replace(path, '^/mnt/it''s/', '')",
        "",
    ),
    "url": (["s3://b/x/front/a.png", "s3://b/x/rear/c.png"], "regexp_replace(path, '^s3://b/x/', '')", ""),
    "folder": (["a.png", "b.png"], "'front/' || path", "data/front/"),
    "both": (["/x/y/a.png", "/x/y/b.png"], "'front/' || regexp_replace(path, '^/x/y/', '')", ""),
    "above": (["data/front/a.png", "data/rear/c.png"], "regexp_replace(path, '^data/', '')", ""),
    "extension": (["front/a", "rear/c"], "path || '.png'", ""),
    "other extension": (["front/a.jpg", "rear/c.jpg"], r"regexp_replace(path, '\.jpg$', '.png')", ""),
    "encoded": (["front/a%2Epng", "rear/c%2Epng"], "url_decode(path)", ""),
    "case": (["FRONT/A.PNG", "REAR/C.PNG"], "lower(path)", ""),
}


@pytest.mark.parametrize("kind", NAMES)
def test_the_expression_that_is_advised_uses_every_row(world: World, kind: str) -> None:
    names, expression, other_input = NAMES[kind]
    world.put("tables/t.csv", "path,scene\n" + "".join(f"{name},tunnel\n" for name in names))
    report = stopped(world.run("sync", "job.yaml", "--format", "json"))
    assert advised_line(report, "file_name") == expression
    if other_input:
        named = advised_line(report, "input")
        assert named.endswith(other_input)
        again = world.run("plan", "job.yaml", "--set", f"input={named}", "--format", "json")
        assert (again.code, again.report["sources"][0]["used"]) == (0, len(names))
    world.source["file_name"] = expression
    world.write_job()
    after = world.run("sync", "job.yaml", "--format", "json")
    assert (after.code, after.report["sources"][0]["used_share"]) == (0, 1.0)


def test_names_that_may_be_in_several_folders_are_not_guessed(world: World) -> None:
    for name in "ab":
        world.put(f"data/rear/{name}.png", b"image")
    world.put("tables/t.csv", "path,scene\na.png,tunnel\nb.png,city\n")
    report = stopped(world.run("sync", "job.yaml", "--format", "json"))
    assert "file_name: " not in report["advice"]
    assert '2 media have this name in different folders, such as "front/a.png"' in report["advice"]


def test_names_with_the_end_of_the_input_in_front_fit_the_folder_above(world: World) -> None:
    world.put("data/fleet/day/x.png", b"image")
    world.put("tables/t.csv", "path,scene\nfleet/day/x.png,tunnel\n")
    world.job["input"] = "data/fleet"
    world.write_job()
    report = stopped(world.run("plan", "job.yaml", "--format", "json"))
    named = advised_line(report, "input")
    assert named.rstrip("/") == str(world.data)
    assert world.run("plan", "job.yaml", "--set", f"input={named}").code == 0


def test_a_column_that_is_an_expression_is_kept_in_the_advice(world: World) -> None:
    world.source["file_name"] = "trim(path)"
    world.write_job()
    report = stopped(world.run("plan", "job.yaml", "--format", "json"))
    world.source["file_name"] = advised_line(report, "file_name")
    world.write_job()
    assert world.run("sync", "job.yaml").code == 0


def test_allow_empty_lets_it_go_on_with_a_warning(world: World) -> None:
    ran = world.run("sync", "job.yaml", "--set", "policy.allow_empty=true", "--format", "json")
    assert ran.code == 0
    (found,) = [one for one in ran.report["finding_examples"] if one["code"] == "source.unused"]
    assert found["severity"] == "warning"


def test_rows_that_were_all_rejected_within_the_limit_end_with_three(world: World) -> None:
    world.put("tables/t.csv", "path,scene\n,tunnel\n,city\n")
    assert world.run("sync", "job.yaml", "--set", "policy.max_rejects=2").code == 3
    stop = world.run("sync", "job.yaml", "--format", "json")
    assert (stop.code, "policy.max_rejects is 0" in stop.report["stopped"]) == (5, True)


def test_rows_that_were_rejected_and_unmatched_are_both_told(world: World) -> None:
    world.put("tables/t.csv", "path,scene\n,tunnel\n/mnt/x.png,city\n")
    report = stopped(world.run("sync", "job.yaml", "--set", "policy.max_rejects=2", "--format", "json"))
    assert '1 rejected, 1 unmatched, such as "/mnt/x.png"' in report["stopped"]


def test_with_a_limit_unused_rows_stop_nothing(world: World) -> None:
    assert world.run("sync", "job.yaml", "--limit", "5").code == 0


def test_one_unused_source_of_two_stops_the_run(world: World) -> None:
    world.put("tables/good.csv", "file_name,n\nfront/a.png,1\n")
    world.job["sources"].append({"table": "tables/good.csv", "name": "good"})
    world.write_job()
    report = stopped(world.run("sync", "job.yaml", "--format", "json"))
    assert [source["used"] for source in report["sources"]] == [0, 1]
    assert nothing_is_written(world)


@pytest.mark.parametrize("media", [{"include": ["rear/*"]}, {"exclude": ["front/**"]}])
def test_rows_of_media_that_the_globs_leave_out_are_not_meant(world: World, media: dict[str, Any]) -> None:
    world.job["media"] = media
    world.source["file_name"] = "replace(path, '/mnt/fleet', '')"
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0
    assert (ran.report["sources"][0]["excluded"], ran.report["sources"][0]["used_share"]) == (2, None)


def test_rows_outside_the_prefix_are_not_meant(world: World) -> None:
    world.put("tables/t.csv", "path,scene\nfront/a.png,tunnel\nfront/nowhere.png,city\n")
    ran = world.run("sync", "job.yaml", "--prefix", "rear/", "--format", "json")
    assert ran.code == 0
    assert (ran.report["sources"][0]["excluded"], ran.report["sources"][0]["unmatched"]) == (2, 0)
    reject = world.run("sync", "job.yaml", "--prefix", "rear/", "--set", "policy.unmatched=reject")
    assert reject.code == 0
    inside = stopped(world.run("sync", "job.yaml", "--prefix", "front/n", "--format", "json"))
    assert "--prefix front/n" in inside["stopped"]


@pytest.mark.parametrize("command", ["plan", "sync"])
def test_an_input_without_media_names_the_folder_that_was_meant(world: World, command: str) -> None:
    (world.root / "dta").mkdir()
    world.job["input"] = "dta"
    world.write_job()
    ran = world.run(command, "job.yaml", "--format", "json")
    report = stopped(ran)
    assert "dta holds no media: nothing lies there" in report["stopped"]
    named = advised_line(report, "input")
    assert named.rstrip("/") == str(world.data)
    assert "--set policy.allow_empty=true" in report["advice"]
    assert not (world.root / "dta/.lightly").exists()


def test_files_that_are_no_media_are_counted(world: World) -> None:
    world.put("other/readme.txt", b"x")
    world.job["input"] = "other"
    world.write_job()
    report = stopped(world.run("plan", "job.yaml", "--format", "json"))
    assert "of 1 other file, none has the extension" in report["stopped"]


def test_globs_that_leave_out_all_media_are_named_with_a_path(world: World) -> None:
    world.job["media"] = {"include": ["*.png"]}
    world.write_job()
    report = stopped(world.run("sync", "job.yaml", "--format", "json"))
    assert "holds 3 media files, and media.include and media.exclude leave out all" in report["stopped"]
    assert '"front/a.png"' in report["advice"]


def test_a_mistyped_prefix_names_the_one_that_is_there(world: World) -> None:
    report = stopped(world.run("plan", "job.yaml", "--prefix", "fornt/", "--format", "json"))
    assert "did you mean --prefix front/?" in report["advice"]


def test_an_empty_input_is_allowed_where_the_job_says_so(world: World) -> None:
    (world.root / "empty").mkdir()
    ran = world.run(
        "sync", "job.yaml", "--set", "input=empty", "--set", "policy.allow_empty=true", "--format", "json"
    )
    assert ran.code == 0
    assert {one["code"]: one["severity"] for one in ran.report["finding_examples"]}["media.none"] == "warning"


EMPTY: dict[str, Callable[[World], None]] = {
    "csv header": lambda world: world.put("tables/t.csv", "path,scene\n") and None,
    "jsonl": lambda world: world.put("tables/t.jsonl", "") and None,
}


@pytest.mark.parametrize("kind", EMPTY)
def test_a_table_without_rows_is_a_warning(world: World, kind: str) -> None:
    EMPTY[kind](world)
    if kind == "jsonl":
        world.source["table"] = "tables/t.jsonl"
        world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0
    assert {one["code"]: one["severity"] for one in ran.report["finding_examples"]}[
        "source.empty"
    ] == "warning"


@pytest.mark.parametrize("glob", ["tables/day=2026-11-27/*.parquet", "tables/t-*.csv", "tables/*/x.csv"])
def test_a_glob_that_matches_nothing_yet_pages_nobody(world: World, glob: str) -> None:
    world.source["table"] = glob
    world.source["metadata"] = {"scene": "scene"}
    world.write_job()
    assert world.run("sync", "job.yaml").code == 1
    world.job["policy"] = {"allow_empty": True, "min_used": "90%"}
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0
    (found,) = [one for one in ran.report["finding_examples"] if one["code"] == "source.empty"]
    assert found["message"] == "no file matches it yet"
    assert (ran.report["sources"][0]["read"], ran.report["documents"]["create"]) == (0, 0)


def test_a_single_table_that_is_missing_is_an_error_in_any_case(world: World) -> None:
    world.source["table"] = "tables/none.csv"
    world.write_job()
    assert world.run("sync", "job.yaml", "--set", "policy.allow_empty=true").code == 2


def test_shares_below_the_least_stop_the_run(world: World) -> None:
    world.put("tables/t.csv", "path,scene\nfront/a.png,tunnel\nfront/x.png,city\nfront/y.png,city\n")
    report = stopped(world.run("sync", "job.yaml", "--set", "policy.min_used=34%", "--format", "json"))
    assert "1 of the 3 rows" in report["stopped"]
    assert "policy.min_used is 34%" in report["stopped"]
    report = stopped(world.run("sync", "job.yaml", "--set", "policy.min_coverage=34%", "--format", "json"))
    assert "1 of 3 media have metadata" in report["stopped"]
    assert nothing_is_written(world)
    fine = ("--set", "policy.min_used=33%", "--set", "policy.min_coverage=33%")
    ran = world.run("sync", "job.yaml", *fine, "--format", "json")
    assert ran.code == 0
    assert ran.report["media"]["with_metadata"] == 1
    assert ran.report["sources"][0]["used_share"] == pytest.approx(1 / 3)
    summary = world.run("plan", "job.yaml").out
    assert "33.3% with metadata" in summary
    assert "share used" in summary


@pytest.mark.parametrize("value", ["5", "101%", "true", "half"])
def test_a_share_is_a_share(world: World, value: str) -> None:
    ran = world.run("plan", "job.yaml", "--set", f"policy.min_used={value}")
    assert ran.code == 2
    assert "policy.min_used" in ran.err


def test_limits_are_no_part_of_the_digest(world: World) -> None:
    def digest(**policy: Any) -> str:
        return Job.from_mapping({**world.job, "policy": policy}, base=world.root).digest()

    assert digest() == digest(allow_empty=True, min_used="5%", min_coverage="5%")


def test_a_kept_plan_that_does_nothing_is_applied_by_nobody(world: World) -> None:
    assert world.run("plan", "job.yaml", "--out", "kept").code == 5
    ran = world.run("sync", "job.yaml", "--plan", "kept")
    assert ran.code == 5
    assert "none of the 2 rows" in ran.err
    assert nothing_is_written(world)
