"""Inventory reports of three clouds in each of their formats, whole ones and others."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaferry.errors import JobError, ScratchFull
from metaferry.media.inventory.report import Inventory, open_inventory
from metaferry.media.inventory.rows import inventory_pages
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import DescribedEntry, Entry
from metaferry.urls import bucket_and_key
from unit.media.inventories import CHANGED, REPORTS, TAKEN, Object, azure, gcs, s3

STRANGE = ["2026/a b+c.png", "2026/é,\"'&日😀.png", "2026/100%25.png", "2026//x.mp4", "2026/line\nend.png"]
OBJECTS = [
    *(Object(f"2026/{n:04d}.png", size=n, tag=f"{n:032x}") for n in range(50)),
    *(Object(key) for key in STRANGE),
    Object("2026/replaced.png", size=7),
    Object("2026/replaced.png", size=3, latest=False),
    Object("2026/deleted.png", latest=False),
    Object("2026/deleted.png", marker=True),
    Object("2026/folder/", size=0),
    Object("2025/elsewhere.png"),
]
PATHS = sorted(
    [f"{n:04d}.png" for n in range(50)] + [key.removeprefix("2026/") for key in STRANGE] + ["replaced.png"]
)

Read = Callable[..., list[Entry]]


@pytest.fixture
def portal() -> Iterator[Portal]:
    with Portal() as portal:
        yield portal


@pytest.fixture
def opened(portal: Portal) -> Callable[..., Inventory]:
    def open_(path: Path | str) -> Inventory:
        return open_inventory(
            str(path), place="media.inventory", storage_for=lambda url: open_storage(url), portal=portal
        )

    return open_


@pytest.fixture
def read(opened: Callable[..., Inventory], portal: Portal, tmp_path: Path) -> Read:
    def read_(
        path: Path | str, source: str = "s3://fleet/2026/", prefix: str = "", with_facts: bool = False
    ) -> list[Entry]:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        try:
            pages = inventory_pages(
                opened(path), source, prefix, scratch=scratch, portal=portal, with_facts=with_facts
            )
            return [entry for page in pages for entry in page]
        finally:
            assert list(scratch.iterdir()) == []

    return read_


@pytest.mark.parametrize("report", REPORTS)
def test_the_current_objects_of_the_datasource(report: str, tmp_path: Path, read: Read) -> None:
    manifest = REPORTS[report](tmp_path / "reports", OBJECTS)
    found = {entry.path: entry for entry in read(manifest)}
    assert sorted(found) == PATHS
    assert (found["0042.png"].size, found["replaced.png"].size) == (42, 7)
    if not report.startswith("gcs"):
        assert found["0042.png"].token == f"{42:032x}"
    else:
        assert found["0042.png"].token == "43"  # its generation


#: What an object's listing would say: ETag, content type, storage class. The reports of S3 have no types.
TOLD = {
    "s3": (f"{42:032x}", None, "GLACIER_IR"),
    "gcs": ("CJ==", "image/png", "NEARLINE"),
    "azure": (f"{42:032x}", "image/png", "Cool"),
}


@pytest.mark.parametrize("report", REPORTS)
def test_what_a_report_says_of_objects_besides(report: str, tmp_path: Path, read: Read) -> None:
    manifest = REPORTS[report](tmp_path / "reports", OBJECTS)
    found = {entry.path: entry for entry in read(manifest, with_facts=True)}
    assert sorted(found) == PATHS
    assert {entry.mtime for entry in found.values()} == {CHANGED.timestamp()}
    one = found["0042.png"]
    assert isinstance(one, DescribedEntry)
    facts = one.facts
    assert (facts.etag, facts.content_type, facts.storage_class) == TOLD[report.partition(" ")[0]]
    assert (facts.metadata, facts.tags) == (None, None)


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (pa.array([1_777_636_800_250, None, 0, -1, 1 << 62]), [1_777_636_800.25, 0, 0, 0, 0]),
        (pa.array([1_777_636_800_250_000_001, None], pa.timestamp("ns", "UTC")), [1_777_636_800.25, 0]),
        (pa.array([1_777_636_800], pa.timestamp("s")), [1_777_636_800]),
        (pa.array(["2026-05-01T12:00:00.2500000Z", "", "soon"]), [1_777_636_800.25, 0, 0]),
    ],
    ids=["milliseconds", "nanoseconds", "seconds without a zone", "texts"],
)
def test_the_time_of_the_last_change(times: pa.Array, told: list[float], tmp_path: Path, read: Read) -> None:
    """What is no time is 0: the time is unknown."""
    manifest = azure(tmp_path, [Object("2026/a.png")], "Parquet")
    names = [f"fleet/2026/{at}.png" for at in range(len(times))]
    (data,) = manifest.parent.glob("*.parquet")
    pq.write_table(pa.table({"Name": names, "Last-Modified": times}), data)
    content = json.loads(manifest.read_text())
    content["files"][0]["size"] = data.stat().st_size
    content["summary"]["objectCount"] = len(times)
    manifest.write_text(json.dumps(content))
    manifest.with_suffix(".checksum").unlink()
    assert [entry.mtime for entry in read(manifest, with_facts=True)] == told


@pytest.mark.parametrize("report", REPORTS)
def test_the_newest_report_of_a_folder(report: str, tmp_path: Path, opened: Callable[..., Inventory]) -> None:
    reports = tmp_path / "reports"
    manifest = REPORTS[report](reports, OBJECTS)
    old = manifest.parent.parent / manifest.parent.name.replace("2026-11-22", "2026-11-21")
    if report.startswith("azure"):
        old = reports / "2026/11/21/01-00-00/rule"
    if old != manifest.parent:
        shutil.copytree(manifest.parent, old)
    else:
        shutil.copy(manifest, str(manifest).replace("2026-11-22", "2026-11-21"))
    newest = opened(reports)
    assert newest.url == str(manifest)
    assert newest.manifest.taken.replace(microsecond=0) == datetime.fromisoformat(TAKEN).replace(tzinfo=UTC)


def test_below_a_prefix_only(tmp_path: Path, read: Read) -> None:
    manifest = s3(tmp_path / "reports", OBJECTS, "CSV")
    assert sorted(entry.path for entry in read(manifest, prefix="004")) == [f"004{n}.png" for n in range(10)]
    assert [entry.path for entry in read(manifest, "s3://fleet/2025")] == ["elsewhere.png"]
    assert "2026/0001.png" in [entry.path for entry in read(manifest, "s3://fleet")]


def test_in_the_bucket_that_it_was_delivered_to(
    tmp_path: Path, opened: Callable[..., Inventory], portal: Portal
) -> None:
    s3(tmp_path / "reports", OBJECTS, "Parquet")
    store = open_storage("memory://reports")
    for file in sorted(tmp_path.rglob("*.*")):
        key = f"reports/{file.relative_to(tmp_path / 'reports').as_posix()}"
        portal.run(store.put(key, file.read_bytes()))
    inventory = opened("memory://reports/reports/fleet")
    assert inventory.url == "memory://reports/reports/fleet/daily/2026-11-22T01-00Z/manifest.json"
    pages = inventory_pages(inventory, "memory://fleet/2026", "", scratch=tmp_path, portal=portal)
    assert sorted(entry.path for page in pages for entry in page) == PATHS


def test_in_a_container_whose_url_is_signed(tmp_path: Path, portal: Portal) -> None:
    azure(tmp_path, OBJECTS, "CSV")
    store = open_storage(f"memory://{tmp_path.name}-signed")
    for file in sorted(tmp_path.rglob("*.*")):
        portal.run(store.put(file.relative_to(tmp_path).as_posix(), file.read_bytes()))
    opened: list[str] = []

    def storage_for(url: str) -> Any:
        opened.append(url)
        return store

    signed = "https://account.blob.core.windows.net/reports{}?sv=1&sig=secret"
    for path in ("", "/2026/11/22/01-00-00/rule/rule-manifest.json"):
        found = open_inventory(signed.format(path), place="x", storage_for=storage_for, portal=portal)
        assert found.keys == ("2026/11/22/01-00-00/rule/rule_1000000_0.csv",)
        assert found.url.endswith("windows.net/reports/2026/11/22/01-00-00/rule/rule-manifest.json")
    assert set(opened) == {signed.format("")}


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("s3://b/a/c d.json", ("s3://b", "b", "a/c d.json")),
        ("gs://b/", ("gs://b", "b", "")),
        ("az://c/p/q", ("az://c", "c", "p/q")),
        ("abfss://c@a.dfs.core.windows.net/p", ("abfss://c@a.dfs.core.windows.net", "c", "p")),
        (
            "https://a.blob.core.windows.net/c/p?sig=x",
            ("https://a.blob.core.windows.net/c?sig=x", "c", "p"),
        ),
        ("memory://fleet/2026", ("memory://fleet", "fleet", "2026")),
        ("/data/2026", None),
        ("sftp://host/2026", None),
    ],
)
def test_the_bucket_of_a_url(url: str, parts: tuple[str, str, str] | None) -> None:
    assert bucket_and_key(url) == parts


def test_without_versions_and_without_size_and_tag(tmp_path: Path, read: Read) -> None:
    manifest = s3(tmp_path / "reports", [Object("2026/a.png"), Object("2026/b.png")], "CSV", versions=False)
    content = json.loads(manifest.read_text())
    content["fileSchema"] = "Bucket, Key, One, Two, Three, Four"
    _rewrite(manifest, content)
    assert read(manifest) == [Entry(f"{name}.png", -1, "", None, 0.0) for name in "ab"]


def test_an_azure_report_that_is_not_finished_is_passed_over(
    tmp_path: Path, opened: Callable[..., Inventory]
) -> None:
    reports = tmp_path / "reports"
    manifest = azure(reports, OBJECTS, "CSV")
    late = azure(tmp_path / "late", OBJECTS, "CSV", status="Pending")
    target = reports / "2026/11/23/01-00-00"
    shutil.copytree(late.parent, target / "rule")
    assert opened(reports).url == str(manifest)
    with pytest.raises(JobError, match="not finished, its status is Pending"):
        opened(target)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _rewrite(manifest: Path, content: dict[str, Any]) -> None:
    data = json.dumps(content).encode()
    manifest.write_bytes(data)
    checksum = manifest.with_suffix(".checksum")
    if checksum.exists():
        checksum.write_text(hashlib.md5(data, usedforsecurity=False).hexdigest())


@pytest.mark.parametrize("form", ["CSV", "ORC", "Parquet"])
@pytest.mark.parametrize("harm", [_flip, lambda path: path.write_bytes(path.read_bytes()[:-1]), Path.unlink])
def test_a_damaged_data_file_stops_the_run(
    form: str, harm: Callable[[Path], None], tmp_path: Path, read: Read
) -> None:
    manifest = s3(tmp_path / "reports", OBJECTS, form)
    harm(max(manifest.parent.parent.glob("data/*")))
    with pytest.raises(JobError, match=r"is not the file that|which is not there"):
        read(manifest)


def test_a_manifest_that_is_not_what_its_checksum_says(tmp_path: Path, read: Read) -> None:
    manifest = s3(tmp_path / "reports", OBJECTS, "CSV")
    manifest.write_text(manifest.read_text() + " ")
    with pytest.raises(JobError, match="does not match its checksum file"):
        read(manifest)


def test_a_report_with_fewer_rows_than_it_counts(tmp_path: Path, read: Read) -> None:
    manifest = gcs(tmp_path / "reports", OBJECTS, "CSV")
    content = json.loads(manifest.read_text())
    _rewrite(manifest, {**content, "records_processed": len(OBJECTS) + 1})
    with pytest.raises(JobError, match=rf"counts {len(OBJECTS) + 1} objects, and its files hold"):
        read(manifest)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("s3://other/2026", "is the inventory of fleet, and input is in other"),
        ("/data/2026", "/data/2026 is no bucket"),
    ],
)
def test_the_inventory_of_another_bucket(source: str, message: str, tmp_path: Path, read: Read) -> None:
    with pytest.raises(JobError, match=message):
        read(s3(tmp_path / "reports", OBJECTS, "CSV"), source)


def test_an_account_without_objects_in_the_container(tmp_path: Path, read: Read) -> None:
    with pytest.raises(JobError, match="holds no object of empty"):
        read(azure(tmp_path / "reports", OBJECTS, "CSV"), "az://empty/2026")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no manifest of an inventory: JSONDecodeError"),
        ("[]", "is no manifest of an inventory: ValueError"),
        ("{}", "neither fileSchema"),
        ('{"fileSchema": "a", "fileFormat": "CSV"}', "KeyError"),
        ('{"fileSchema": "a", "fileFormat": "Avro"}', "ValueError"),
        ('{"ruleDefinition": {"objectType": "container"}}', "is an inventory of containers"),
    ],
)
def test_what_is_no_manifest(text: str, message: str, tmp_path: Path, read: Read) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(JobError, match=message):
        read(tmp_path / "manifest.json")


def test_folders_without_a_report_or_with_those_of_several(
    tmp_path: Path, opened: Callable[..., Inventory]
) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(JobError, match="no inventory has been delivered"):
        opened(tmp_path / "none")
    with pytest.raises(JobError, match="there is no manifest"):
        opened(tmp_path / "none" / "manifest.json")
    manifest = s3(tmp_path / "reports", OBJECTS, "CSV")
    shutil.copytree(manifest.parent.parent, manifest.parent.parent.parent / "weekly")
    with pytest.raises(JobError, match=r"several inventories, such as fleet/daily/.* and fleet/weekly/"):
        opened(tmp_path / "reports")


def test_a_report_without_names(tmp_path: Path, read: Read) -> None:
    manifest = gcs(tmp_path / "reports", OBJECTS, "CSV")
    content = json.loads(manifest.read_text())
    content["report_config"]["objectMetadataReportOptions"]["metadataFields"][1] = "project"
    _rewrite(manifest, content)
    with pytest.raises(JobError, match="no column with the names of the objects"):
        read(manifest)


def test_a_disk_without_room(
    opened: Callable[..., Inventory], portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copies go to a device that is always full."""
    inventory = opened(s3(tmp_path / "reports", OBJECTS, "CSV"))
    opening = Path.open

    def full(self: Path, mode: str = "r", *given: Any, **more: Any) -> Any:
        return opening(Path("/dev/full") if "w" in mode else self, mode, *given, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ScratchFull, match="the disk of the scratch folder"):
        list(inventory_pages(inventory, "s3://fleet", "", scratch=tmp_path, portal=portal))
    assert not (tmp_path / "inventory").exists()
