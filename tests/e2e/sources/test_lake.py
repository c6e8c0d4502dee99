"""Delta and Iceberg tables as sources: folders, catalogs, S3, and the version that is read."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from e2e.sources.pages import documents, jobs_of, synced
from e2e.world import World
from metaferry.tables.readers.lake.options import for_object_store
from servers.delta import with_deleted_rows, with_mapped_columns
from servers.iceberg import FolderCatalog, rest_catalog
from servers.s3 import FastS3

ROWS = pa.table(
    {"file_name": ["a.png", "b.png"], "speed": [1.5, 2.5], "weather": ["fog", "sun"], "day": ["07", "08"]}
)
MORE = pa.table({"file_name": ["c.png"], "speed": [3.5], "weather": ["rain"], "day": ["07"]})
NEXT_YEAR = f"{datetime.date.today().year + 1}-01-01T00:00:00Z"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in "abc":
        made.put(f"data/{name}.png", b"image")
    return made


def delta(world: World, url: str = "", **options: Any) -> str:
    from deltalake import write_deltalake

    at = url or str(world.root / "labels")
    write_deltalake(at, ROWS, partition_by=["day"], **options)
    write_deltalake(at, MORE, mode="append", **options)
    return at


def sync(world: World, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The report of a run with one source; the documents of an earlier one are gone first."""
    for path in (world.data / ".lightly/metadata").glob("*.json"):
        path.unlink()
    metadata = {} if "query" in source else {"metadata": {"speed": "speed"}}
    world.job = {"input": "data", "sources": [{**metadata, **source}], **more}
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    return ran.report


def failed(world: World, source: dict[str, Any], code: int = 2, **more: Any) -> str:
    world.job = {"input": "data", "sources": [source], "retry_for": 0, **more}
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == code, ran.err
    return ran.err


def test_the_jobs_of_the_page_run(world: World) -> None:
    delta(world)
    of_delta, of_iceberg = jobs_of("lake.md")
    made = synced(world, of_delta)
    assert made["c"] == {"speed": 3.5, "weather": "rain"}
    FolderCatalog().new_table(f"file://{world.root}/warehouse/labels", ROWS)
    for path in (world.data / ".lightly/metadata").glob("*.json"):
        path.unlink()
    assert synced(world, of_iceberg)["a"] == {"speed": 1.5, "weather": "fog"}


def test_a_version_of_delta_is_read_by_number_or_time_and_is_in_the_report(world: World) -> None:
    delta(world)
    for given, version, names in [
        ("labels", "version 1", {"a", "b", "c"}),
        ({"url": "labels", "version": 0}, "version 0", {"a", "b"}),
        ({"url": "labels", "time": NEXT_YEAR}, "version 1", {"a", "b", "c"}),
    ]:
        report = sync(world, {"delta": given})
        assert list(report["versions"].values()) == [version]
        assert set(documents(world)) == names
    assert "version 1" in world.run("plan", "job.yaml").out


def test_a_kept_plan_keeps_the_version_that_it_was_made_of(world: World) -> None:
    at = delta(world)
    world.job = {"input": "data", "sources": [{"delta": at, "metadata": {"speed": "speed"}}]}
    world.write_job()
    assert world.run("plan", "job.yaml", "--out", "kept").code == 0
    for arguments in (["sync", "job.yaml", "--plan", "kept"], ["finish", "kept"]):
        ran = world.run(*arguments, "--format", "json")
        assert ran.code == 0, ran.err
        assert list(ran.report["versions"].values()) == ["version 1"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "labels", "version": 7}, "does not have that version"),
        ({"url": "labels", "time": "2020-01-01T00:00:00Z"}, "no version that is as old"),
        ({"url": "labels", "time": "2020-01-01T00:00:00"}, "should have a zone"),
        ({"url": "labels", "time": NEXT_YEAR, "version": 1}, "exclude each other"),
        ("nowhere", "there is no Delta table"),
        ("data", "there is no Delta table"),
    ],
)
def test_a_version_that_is_not_there_is_named(world: World, given: Any, message: str) -> None:
    delta(world)
    err = failed(world, {"delta": given})
    assert message in err
    assert "sources[0].delta" in err


def test_rows_that_a_deletion_vector_names_are_gone(world: World) -> None:
    with_deleted_rows(world.root / "labels", pa.concat_tables([ROWS, MORE]).drop_columns("day"), [1])
    sync(world, {"delta": "labels"})
    assert documents(world) == {"a": {"speed": 1.5}, "c": {"speed": 3.5}}


def test_columns_that_have_other_names_in_files_are_read_by_theirs(world: World) -> None:
    with_mapped_columns(world.root / "labels", ROWS)
    sync(world, {"delta": "labels"})
    assert documents(world) == {"a": {"speed": 1.5}, "b": {"speed": 2.5}}


@pytest.mark.servers
def test_a_delta_table_on_s3_is_read_with_the_options_of_the_job(
    world: World, fast_s3_server: FastS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    options = for_object_store("s3", fast_s3_server.options, "x")
    url = delta(world, f"s3://{fast_s3_server.new_bucket()}/labels", storage_options=options)
    sync(world, {"delta": url}, storage={"s3": fast_s3_server.options})
    assert documents(world)["c"] == {"speed": 3.5}
    sync(world, {"delta": {"url": url, "options": fast_s3_server.options}})
    assert documents(world)["c"] == {"speed": 3.5}
    err = failed(world, {"delta": {"url": url, "options": {**fast_s3_server.options, "profile": "x"}}})
    assert "the option profile has no equivalent" in err
    gone = {**fast_s3_server.options, "endpoint_url": "http://127.0.0.1:1"}
    err = failed(world, {"delta": {"url": f"s3://{'x' * 8}/labels", "options": fast_s3_server.options}}, 1)
    assert "NoSuchBucket" in err
    assert fast_s3_server.secret not in failed(world, {"delta": {"url": url, "options": gone}}, 1)


def iceberg(world: World) -> tuple[FolderCatalog, Any, int]:
    """A table with three snapshots, of which the first is answered, and a column that was renamed."""
    catalog = FolderCatalog()
    table = catalog.new_table(f"file://{world.root}/labels", ROWS)
    first = table.current_snapshot().snapshot_id
    table.manage_snapshots().create_tag(first, "audited").commit()
    table = catalog.load_table(table.name())
    table.append(MORE)
    table = catalog.load_table(table.name())
    table.delete("file_name == 'b.png'")
    table = catalog.load_table(table.name())
    return catalog, table, first


def test_a_snapshot_of_iceberg_is_read_by_number_name_or_time_and_is_in_the_report(world: World) -> None:
    _, table, first = iceberg(world)
    current = table.current_snapshot().snapshot_id
    metadata = table.metadata_location.removeprefix("file://")
    for given, snapshot, names in [
        ("labels", current, {"a", "c"}),
        (metadata, current, {"a", "c"}),
        ({"url": "labels", "snapshot": first}, first, {"a", "b"}),
        ({"url": "labels", "ref": "audited"}, first, {"a", "b"}),
        ({"url": "labels", "time": NEXT_YEAR}, current, {"a", "c"}),
    ]:
        report = sync(world, {"iceberg": given})
        assert list(report["versions"].values()) == [f"snapshot {snapshot}"]
        assert set(documents(world)) == names


def test_a_column_that_was_renamed_has_its_name_of_today(world: World) -> None:
    catalog, table, _ = iceberg(world)
    with table.update_schema() as update:
        update.rename_column("speed", "velocity")
    catalog.load_table(table.name())
    sync(world, {"iceberg": "labels", "metadata": {"velocity": "velocity"}})
    assert documents(world)["a"] == {"velocity": 1.5}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "labels", "snapshot": 7}, "has no snapshot 7"),
        ({"url": "labels", "ref": "nope"}, "has no branch or tag 'nope'"),
        ({"url": "labels", "time": "2020-01-01T00:00:00Z"}, "has no snapshot that is as old"),
        ({"url": "labels", "ref": "audited", "snapshot": 7}, "exclude each other"),
        ({"catalog": "prod"}, "`catalog` and `name` belong together"),
        ({"options": {}}, "should have a `url`"),
        ("nowhere", "there is no Iceberg table"),
        ("data", "there is no Iceberg table"),
        ("labels.json", "is not what the format says"),
    ],
)
def test_a_table_or_a_snapshot_that_is_not_there_is_named(world: World, given: Any, message: str) -> None:
    iceberg(world)
    world.put("labels.json", "{}")
    err = failed(world, {"iceberg": given})
    assert message in err
    assert "sources[0].iceberg" in err


def test_a_catalog_is_found_by_the_configuration_of_the_library(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, table, _ = iceberg(world)
    token = "canary-token-5521"
    monkeypatch.setenv("LABELS_TOKEN", token)
    with rest_catalog({"fleet.labels": table}, token=token) as uri:
        given = {
            "catalog": "prod",
            "name": "fleet.labels",
            "properties": {"type": "rest", "uri": uri, "token": "${LABELS_TOKEN}"},
        }
        report = sync(world, {"iceberg": given})
        assert report["versions"] == {"prod:fleet.labels": f"snapshot {table.current_snapshot().snapshot_id}"}
        assert set(documents(world)) == {"a", "c"}
        wrong = {**given, "properties": {**given["properties"], "token": f"{token}-wrong"}}
        err = failed(world, {"iceberg": wrong}, 1)
        assert token not in err
        assert "may not be read" in err
        assert "fleet.nope" in failed(world, {"iceberg": {**given, "name": "fleet.nope"}})


def test_what_a_table_says_of_itself_chooses_no_class_of_this_machine(world: World) -> None:
    catalog = FolderCatalog()
    table = catalog.new_table(f"file://{world.root}/labels", ROWS)
    path = Path(table.metadata_location.removeprefix("file://"))
    metadata = json.loads(path.read_text())
    metadata["properties"]["py-io-impl"] = "e2e.sources.test_lake.Hostile"
    path.write_text(json.dumps(metadata))
    sync(world, {"iceberg": "labels"})
    assert set(documents(world)) == {"a", "b"}


class Hostile:
    """Stands for any class that a table names as what reads it."""

    def __init__(self, properties: Any) -> None:
        raise AssertionError("a table has chosen what runs")


@pytest.mark.servers
def test_an_iceberg_table_on_s3_is_read_with_the_options_of_the_job(
    world: World, fast_s3_server: FastS3
) -> None:
    bucket = fast_s3_server.new_bucket()
    url, here = f"s3://{bucket}/labels", world.root / "here"
    elsewhere = {"py-io-impl": "servers.iceberg.ElsewhereIO", "elsewhere": url, "here": str(here)}
    table = FolderCatalog(**elsewhere).new_table(url, ROWS)
    for path in here.rglob("*.*"):
        fast_s3_server.put(bucket, f"labels/{path.relative_to(here).as_posix()}", path.read_bytes())
    for given in (url, f"{url}/", table.metadata_location):
        sync(world, {"iceberg": given}, storage={"s3": fast_s3_server.options})
        assert documents(world) == {"a": {"speed": 1.5}, "b": {"speed": 2.5}}
    err = failed(world, {"iceberg": f"{url}-nope"}, 1, storage={"s3": fast_s3_server.options})
    assert "there is no Iceberg table" in err


@pytest.mark.parametrize(("key", "module"), [("delta", "deltalake"), ("iceberg", "pyiceberg.table")])
def test_an_extra_that_is_not_installed_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, key: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert "pip install 'metaferry[lake]'" in failed(world, {key: "labels"})
