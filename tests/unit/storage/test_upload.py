"""A file of any size comes to its place whole, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metaferry.errors import StorageError
from metaferry.storage import upload
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.upload import put_file

if TYPE_CHECKING:  # below tests/unit there is more than one module of that name
    from servers.datasource import FreshDatasource


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "made"
    file.write_bytes(os.urandom(11 << 20))
    return file


def put(source: Path, folder: str, name: str, options: dict[str, Any], portal: Portal) -> bytes:
    storage = open_storage(folder, options)
    try:
        put_file(source, folder, name, options, storage, portal)
        return portal.run(storage.read(name)).data
    finally:
        portal.run(storage.close())


def test_a_local_file_is_renamed_into_place_and_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "öut 100%"
    folder.mkdir()
    (folder / "x.parquet").write_bytes(b"before")
    with Portal() as portal:
        assert put(source, str(folder), "x.parquet", {}, portal) == source.read_bytes()
        assert put(source, f"file://{folder}", "y.parquet", {}, portal) == source.read_bytes()
    assert sorted(os.listdir(folder)) == ["x.parquet", "y.parquet"]


def test_an_upload_that_fails_leaves_what_was_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x.parquet").write_bytes(b"before")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(upload.shutil, "copyfileobj", full)
    with Portal() as portal, pytest.raises(StorageError, match=r"x\.parquet"):
        put(source, str(tmp_path / "out"), "x.parquet", {}, portal)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"x.parquet": b"before"}


def test_a_local_folder_that_takes_no_file_is_an_error_of_ours(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "x.parquet").mkdir(parents=True)
    with Portal() as portal, pytest.raises(StorageError, match=r"x\.parquet"):
        put(source, str(tmp_path / "out"), "x.parquet", {}, portal)
    assert os.listdir(tmp_path / "out") == ["x.parquet"]


def test_a_file_in_place_of_the_folder_is_an_error_of_ours(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"before")
    with Portal() as portal, pytest.raises(StorageError, match=r"x\.parquet"):
        put(source, str(tmp_path / "out"), "x.parquet", {}, portal)
    assert (tmp_path / "out").read_bytes() == b"before"


def test_small_files_are_one_put(source: Path) -> None:
    source.write_bytes(b"small")
    with Portal() as portal:
        assert put(source, "memory://upload-small", "x.csv", {}, portal) == b"small"


@pytest.mark.servers
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # of Azure's library, at 4 MB
@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_large_files_go_to_a_store_in_parts(
    kind: str, source: Path, fresh_datasource: FreshDatasource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "WHOLE", 1 << 20)
    monkeypatch.setitem(upload._PARTS, "s3", {"chunksize": 5 << 20, "max_concurrency": 2})
    url, options = fresh_datasource(kind)
    with Portal() as portal:
        assert put(source, f"{url.rstrip('/')}/sub", "x.parquet", options, portal) == source.read_bytes()


@pytest.mark.servers
def test_what_a_library_raises_is_an_error_of_ours_without_its_text(
    source: Path, fresh_datasource: FreshDatasource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "WHOLE", 1 << 20)
    url, options = fresh_datasource("s3")
    missing = url.replace("s3://", "s3://no-such-")
    with Portal() as portal, pytest.raises(StorageError) as raised:
        put(source, missing, "x.parquet", options, portal)
    assert raised.value.path in ("x.parquet", "")
    assert "NoSuchBucket" not in str(raised.value.__cause__ or "")


@pytest.mark.servers
def test_google_is_reached_without_grpc(tmp_path: Path, fresh_datasource: FreshDatasource) -> None:
    """fsspec's class for `gs://` first asks for the bucket's type by gRPC: a minute where that is blocked."""
    source = tmp_path / "made"
    source.write_bytes(b"a,b\n1,2\n")
    url, options = fresh_datasource("gcs")
    with Portal() as portal:
        assert put(source, url, "x.csv", options, portal) == source.read_bytes()
