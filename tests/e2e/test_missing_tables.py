"""A table that is not there yet ends a run with exit code 1, which schedulers try again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import metaferry
from metaferry.errors import JobError, TableMissing
from metaferry.job.model import Job
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource

pytestmark = pytest.mark.servers

STORES = ("fast_s3", "gcs", "fast_azure")
SCHEMES = {"fast_s3": "s3", "gcs": "gs", "fast_azure": "az"}
TABLE = b"file_name,scene\na.png,city\n"


def job(tmp_path: Path, table: str, kind: str, options: dict[str, Any]) -> Job:
    media = tmp_path / "media"
    media.mkdir(exist_ok=True)
    (media / "a.png").write_bytes(b"x")
    return Job.from_mapping(
        {
            "input": str(media),
            "sources": [{"table": table}],
            "storage": {SCHEMES[kind]: options},
            "retry_for": 2,
        }
    )


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("table", ["labels.csv", "labels.parquet", "day/*.csv", "day/**/*.parquet"])
def test_an_object_or_a_match_that_is_not_there(
    fresh_datasource: FreshDatasource, tmp_path: Path, kind: str, table: str
) -> None:
    url, options = fresh_datasource(kind)
    with pytest.raises(TableMissing, match=r"sources\[0\]\.table: ") as caught:
        metaferry.sync(job(tmp_path, f"{url}{table}", kind, options))
    assert caught.value.exit_code == 1
    assert not (tmp_path / "media/.lightly").exists()


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("table", ["labels.csv", "labels.parquet", "*.csv"])
def test_a_bucket_that_is_not_there(
    fresh_datasource: FreshDatasource, tmp_path: Path, kind: str, table: str
) -> None:
    _, options = fresh_datasource(kind)
    url = f"{SCHEMES[kind]}://there-is-no-such-bucket/{table}"
    with pytest.raises(metaferry.MetaferryError, match="there-is-no-such-bucket") as caught:
        metaferry.sync(job(tmp_path, url, kind, options))
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("extension", ["csv", "parquet"])
def test_a_part_of_a_glob_that_goes_before_it_is_read(
    fresh_datasource: FreshDatasource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    extension: str,
) -> None:
    from metaferry.tables import load

    url, options = fresh_datasource(kind)
    with Portal() as portal:
        storage = open_storage(url, options)
        portal.run(storage.put(f"day/one.{extension}", TABLE))
        found = load.find_files

        def and_gone(*args: Any, **named: Any) -> Any:
            answer = found(*args, **named)
            portal.run(storage.delete(f"day/one.{extension}"))
            return answer

        monkeypatch.setattr(load, "find_files", and_gone)
        with pytest.raises(TableMissing, match=rf"there is no file .*one\.{extension}"):
            metaferry.sync(job(tmp_path, f"{url}day/*.{extension}", kind, options))
        portal.run(storage.close())


def test_a_local_file_that_the_job_names_is_a_fault_of_the_job(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="there is no file") as caught:
        metaferry.sync(job(tmp_path, str(tmp_path / "labels.csv"), "fast_s3", {}))
    assert caught.value.exit_code == 2
