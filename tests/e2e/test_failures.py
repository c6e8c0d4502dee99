"""docs/failures.md, row by row: each failure is made, and looks as the page says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from e2e.world import Ran, World
from metaferry.demo import make_dataset
from metaferry.runs.metrics.figures import Ended, samples
from servers.proxy import Rule
from servers.s3 import FastS3

PAGE = (Path(__file__).parents[2] / "docs/failures.md").read_text()
NAMES = "abcd"


class Row(NamedTuple):
    """One line of the page; `log` and `metric` without their marks."""

    failure: str
    log: str
    metric: str
    code: int
    todo: str


def rows() -> list[Row]:
    found = []
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 5 and cells[3].isdigit():
            found.append(Row(cells[0], cells[1].strip("`"), cells[2].strip("`"), int(cells[3]), cells[4]))
    return found


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    dataset = make_dataset(tmp_path_factory.mktemp("demo"))
    return (dataset.media / dataset.images[0]).read_bytes()


@pytest.fixture
def world(tmp_path: Path, picture: bytes) -> World:
    world = World(tmp_path)
    for name in NAMES:
        world.put(f"data/images/{name}.png", picture)
    label(world, "city")
    world.job = {"input": "data", "sources": [{"table": "tables/labels.csv"}], "retry_for": 0}
    return world


@pytest.fixture
def s3(fast_s3_server: FastS3) -> Iterator[FastS3]:
    yield fast_s3_server
    fast_s3_server.reset()


def label(world: World, scene: str, names: str = NAMES) -> None:
    lines = "".join(f"images/{name}.png,{scene}\n" for name in names)
    world.put("tables/labels.csv", f"file_name,scene\n{lines}")


def sync(world: World) -> Ran:
    world.write_job()
    return world.run("sync", "job.yaml")


def report_of(world: World, s3: FastS3) -> bytes:
    """`run.json` of the last run, wherever its state folder is."""
    if "lightly" not in world.job:
        return (world.run_folders()[-1] / "run.json").read_bytes()
    bucket = world.job["lightly"].removeprefix("s3://")
    (report,) = [data for key, data in s3.objects(bucket).items() if key.endswith("/run.json")]
    return report


def on_s3(world: World, s3: FastS3) -> str:
    bucket: str = s3.new_bucket()
    world.job |= {"lightly": f"s3://{bucket}", "storage": {"s3": s3.options}}
    return bucket


# -- how each is made


def job_file(world: World, s3: FastS3) -> None:
    del world.job["sources"]


def secret(world: World, s3: FastS3) -> None:
    world.job["storage"] = {"s3": {"secret": "${file:/not/there}"}}


def no_table_yet(world: World, s3: FastS3) -> None:
    world.source["table"] = "tables/other-*.csv"


def no_media(world: World, s3: FastS3) -> None:
    world.job["media"] = {"include": ["*.avi"]}


def too_many_rejects(world: World, s3: FastS3) -> None:
    label(world, "city", NAMES + "/")
    world.put("tables/labels.csv", "file_name,scene\nimages/a.png,city\n../x.png,city\n")


def some_rows_rejected(world: World, s3: FastS3) -> None:
    too_many_rejects(world, s3)
    world.job["policy"] = {"max_rejects": "100%"}


def too_many_deletes(world: World, s3: FastS3) -> None:
    assert sync(world).code == 0
    label(world, "city", "a")
    world.job["policy"] = {"delete": "orphans", "max_delete": 1}


def documents_of_others(world: World, s3: FastS3) -> None:
    world.put(
        "data/.lightly/metadata/images/a.json",
        '{"file_name": "images/a.png", "type": "image", "metadata": {"theirs": 1}}',
    )


def another_run(world: World, s3: FastS3) -> None:
    world.put(
        "data/.metaferry/lease.json",
        json.dumps({"holder": "x", "run_id": "r", "user": "anna", "host": "node-7", "lease_for": 60}),
    )
    world.job["lease_wait"] = 0


def one_document(world: World, s3: FastS3) -> None:
    world.put("data/.lightly/metadata/images/a.json/in-the-way", "x")


def no_right(world: World, s3: FastS3) -> None:
    on_s3(world, s3)
    body = b"<Error><Code>AccessDenied</Code></Error>"
    s3.add(Rule("status", "(PUT|GET)", ".*", times=1_000, status=403, body=body))


def credentials_ran_out(world: World, s3: FastS3) -> None:
    on_s3(world, s3)
    s3.expire(s3.key)


def store_away(world: World, s3: FastS3) -> None:
    on_s3(world, s3)
    world.job["storage"]["s3"] = {**s3.options, "endpoint_url": "http://127.0.0.1:1"}


def throttled(world: World, s3: FastS3) -> None:
    on_s3(world, s3)
    world.job["retry_for"] = 60
    body = b"<Error><Code>SlowDown</Code></Error>"
    s3.add(Rule("status", "PUT", "images", times=2, status=503, body=body))


def broken_video(world: World, s3: FastS3) -> None:
    world.put("data/broken.mp4", b"no video")
    world.put("tables/labels.csv", "file_name,frame,scene\nimages/a.png,,city\nbroken.mp4,0,city\n")
    world.source["frame"] = "frame"
    world.job["policy"] = {"max_rejects": "100%"}


def broken_schema_json(world: World, s3: FastS3) -> None:
    world.put("data/.lightly/metadata/schema.json", "{")


MADE: dict[str, Callable[[World, FastS3], None]] = {
    made.__name__.replace("_", " "): made
    for made in (
        job_file,
        secret,
        no_table_yet,
        no_media,
        too_many_rejects,
        some_rows_rejected,
        too_many_deletes,
        documents_of_others,
        another_run,
        one_document,
        no_right,
        credentials_ran_out,
        store_away,
        throttled,
        broken_video,
        broken_schema_json,
    )
}


def test_every_row_of_the_page_is_tried() -> None:
    from e2e import test_killed_and_hanging

    assert [row.failure.replace(".", " ") for row in rows()] == [*MADE, *test_killed_and_hanging.TRIED]


@pytest.mark.parametrize("row", rows()[: len(MADE)], ids=lambda row: row.failure)
def test_it_looks_as_the_page_says(row: Row, world: World, s3: FastS3) -> None:
    MADE[row.failure.replace(".", " ")](world, s3)
    before = world.tree()
    world.write_job()
    ran = world.run("sync", "job.yaml", "-v")
    said = ran.out + ran.err
    assert ran.code == row.code, said
    assert re.search(".*".join(map(re.escape, row.log.split("…"))), said), said
    if "nothing was written" in row.todo:
        assert world.tree() == before
    if row.metric != "metaferry_last_run_exit_code":
        found = samples(json.loads(report_of(world, s3)), Ended(1.0, 1.0), version="1")
        assert any(value > 0 for value in found[row.metric].values())
