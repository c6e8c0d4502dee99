"""Folders of Azure's hierarchical accounts, blobfuse and Hadoop are no media and no documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

import metaferry
from metaferry.job.model import Job
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource

pytestmark = pytest.mark.servers

KINDS = ("azure", "fast_azure")
FOLDERS = ("clip.mp4", "shots", ".lightly/metadata/old.json", ".lightly/metadata/shots")


def blob_names(url: str, options: dict[str, Any]) -> tuple[ContainerClient, str]:
    container, _, prefix = url.removeprefix("az://").partition("/")
    return ContainerClient.from_connection_string(options["connection_string"], container), prefix


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, fresh_datasource: FreshDatasource) -> tuple[str, dict[str, Any]]:
    url, options = fresh_datasource(request.param)
    client, prefix = blob_names(url, options)
    with client:
        for n, name in enumerate(FOLDERS):
            marker = "hdi_isfolder" if n % 2 else "Hdi_IsFolder"
            client.upload_blob(prefix + name, b"", metadata={marker: "true"})
        client.upload_blob(prefix + "shots/a.png", b"x", metadata={"camera": "front"})
        client.upload_blob(prefix + "empty.png", b"")
        client.upload_blob(prefix + "clip.mp4/inside.png", b"x")
    return url, options


def test_they_are_in_no_listing(place: tuple[str, dict[str, Any]]) -> None:
    url, options = place
    with Portal() as portal:
        storage = open_storage(url, options)
        names = [entry.path for page in portal.iterate(storage.list("")) for entry in page]
        level = portal.run(storage.list_level(""))
        portal.run(storage.close())
    assert sorted(names) == ["clip.mp4/inside.png", "empty.png", "shots/a.png"]
    assert level is not None
    assert [entry.path for entry in level.entries] == ["empty.png"]
    assert sorted(level.folders) == [".lightly/", "clip.mp4/", "shots/"]


def test_a_sync_gives_them_no_document_and_deletes_none(
    place: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    url, options = place
    table = tmp_path / "labels.csv"
    names = ("shots/a.png", "empty.png", "clip.mp4/inside.png", "clip.mp4")
    table.write_text("file_name,scene\n" + "".join(f"{name},city\n" for name in names))
    job = Job.from_mapping(
        {
            "input": url,
            "sources": [{"table": str(table)}],
            "storage": {"az": options},
            "policy": {"delete": "orphans", "max_delete": "100%", "unmatched": "report"},
        }
    )
    report = metaferry.sync(job)
    assert (report.media.images, report.media.videos) == (3, 0)
    assert (report.documents.create, report.documents.delete, report.exit_code) == (3, 0, 0)
    assert report.sources[0].unmatched == 1
    client, prefix = blob_names(url, options)
    with client:
        there = {blob.name.removeprefix(prefix) for blob in client.list_blobs(name_starts_with=prefix)}
    assert set(FOLDERS) <= there
    assert metaferry.sync(job).changes == 0


def test_a_folder_in_a_documents_place_is_not_written_over(
    request: pytest.FixtureRequest, place: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    url, options = place
    client, prefix = blob_names(url, options)
    folder = prefix + ".lightly/metadata/empty.json"
    with client:
        client.upload_blob(folder, b"", metadata={"hdi_isfolder": "true"})
    table = tmp_path / "labels.csv"
    table.write_text("file_name,scene\nshots/a.png,city\nempty.png,city\n")
    job = {"input": url, "sources": [{"table": str(table)}], "storage": {"az": options}, "retry_for": 5}
    report = metaferry.sync(Job.from_mapping(job))
    assert (report.documents.create, report.documents.failed, report.exit_code) == (1, 1, 3)
    (failed,) = [each for each in report.finding_examples if str(each.code) == "document.failed"]
    assert failed.target == ".lightly/metadata/empty.json"
    if (
        request.node.callspec.params["place"] == "fast_azure"
    ):  # Azurite gives no whole answer to a range of an empty blob
        assert "a folder is in the place of the file" in failed.message
    again, _ = blob_names(url, options)
    with again:
        found = again.get_blob_client(folder).get_blob_properties()
    assert (found.size, found.metadata) == (0, {"hdi_isfolder": "true"})
