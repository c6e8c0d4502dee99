"""The ledger where it decides: listings that do not prove what is there.

Tags as of objects under a customer's key (32 hex digits, and no MD5) on the S3 server of the tests,
and a generic file system, which has none at all. The rule of all of it: never kept on a guess, never
written twice without need.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

import metaferry
from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.lightly.document import document
from metaferry.lightly.names import DOCUMENTS, SCHEMA, Kind, document_path
from metaferry.planning.formats import RunReport
from metaferry.runs.state import folder as state
from metaferry.runs.state import ledger
from servers.s3 import FastS3

pytestmark = pytest.mark.slow

NAMES = [f"2026/{n % 3}/image {n:02d}.png" for n in range(24)]


class Mounted(LocalFileSystem):  # type: ignore[misc]
    """A file system of a user's own, over a real folder; it knows sizes and times, and no content."""

    protocol = "mounted"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = super()._strip_protocol(path.removeprefix("mounted://"))
        return stripped


class Datasource:
    """A datasource whose listings prove nothing, and its table. Subclasses say how to look at it."""

    url = ""
    options: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, folder: Path) -> None:
        self.table = folder / "table.csv"
        self.rows = {name: {"scene": f"scene {n % 5}", "cars": n} for n, name in enumerate(NAMES)}
        self.write_table()

    def write_table(self) -> None:
        with self.table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file_name", "scene", "cars"])
            writer.writerows([name, row["scene"], row["cars"]] for name, row in self.rows.items())

    @property
    def wanted(self) -> dict[str, bytes]:
        return {document_path(name): document(name, Kind.IMAGE, row) for name, row in self.rows.items()}

    def job(self, **changes: Any) -> Job:
        mapping = {
            "input": {"url": self.url, "options": self.options},
            "sources": [{"table": str(self.table)}],
            "media": {"include": ["**/*.png"]},
        }
        return Job.from_mapping(mapping | changes)

    def sync(self, **changes: Any) -> RunReport:
        report = metaferry.sync(self.job(**changes))
        assert (report.exit_code, report.stopped) == (0, "")
        tree = self.below(".lightly/")
        schema = json.loads(tree.pop(SCHEMA))
        assert {entry["name"] for entry in schema} == {"scene", "cars"}
        assert tree == self.wanted
        return report

    def below(self, prefix: str) -> dict[str, bytes]:
        raise NotImplementedError

    def put(self, key: str, data: bytes) -> None:
        """As somebody else would."""
        raise NotImplementedError

    def delete(self, key: str) -> None:
        raise NotImplementedError

    def ledger(self) -> dict[str, bytes]:
        return self.below(".metaferry/ledger/")


class Encrypted(Datasource):
    """A bucket whose objects are encrypted with a key of the customer's."""

    def __init__(self, folder: Path, server: FastS3) -> None:
        super().__init__(folder)
        self.server, self.bucket = server, server.new_bucket()
        self.url, self.options = f"s3://{self.bucket}/data/", server.options
        server.seed(self.bucket, [f"data/{name}" for name in NAMES])

    def below(self, prefix: str) -> dict[str, bytes]:
        found = self.server.objects(self.bucket, f"data/{prefix}")
        return {key.removeprefix("data/"): data for key, data in found.items()}

    def put(self, key: str, data: bytes) -> None:
        self._client("put_object", Key=f"data/{key}", Body=data)

    def delete(self, key: str) -> None:
        self._client("delete_object", Key=f"data/{key}")

    def requests(self) -> list[tuple[str, str]]:
        """Method and key of whatever was asked about single documents since `clear`."""
        return [
            (method, key.partition("?")[0].partition("/data/")[2])
            for _, method, key, _, _ in self.server.log(key=f"^/{self.bucket}/data/{DOCUMENTS}")
        ]

    def _client(self, operation: str, **wanted: Any) -> None:
        import botocore.config
        import botocore.session

        client = botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.server.endpoint,
            region_name="us-east-1",
            aws_access_key_id="somebody",
            aws_secret_access_key="else",
            config=botocore.config.Config(s3={"addressing_style": "path"}, proxies={}),
        )
        try:
            getattr(client, operation)(Bucket=self.bucket, **wanted)
        finally:
            client.close()


class Generic(Datasource):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.root = folder / "mount"
        self.url = f"mounted://{self.root}"
        for name in NAMES:
            self.put(name, b"media")

    def below(self, prefix: str) -> dict[str, bytes]:
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in (self.root / prefix).rglob("*")
            if path.is_file()
        }

    def put(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(uuid.uuid4().hex)
        part.write_bytes(data)
        os.replace(part, path)

    def delete(self, key: str) -> None:
        (self.root / key).unlink()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[FastS3]:
    """The S3 server, as one whose tags prove nothing."""
    server: FastS3 = request.getfixturevalue("fast_s3_server")
    server.reset()
    server.set(kms=True)
    yield server
    server.reset()


@pytest.fixture
def encrypted(server: FastS3, tmp_path: Path) -> Encrypted:
    return Encrypted(tmp_path, server)


@pytest.fixture(params=[pytest.param("encrypted", marks=pytest.mark.servers), "generic"])
def datasource(request: pytest.FixtureRequest, tmp_path: Path) -> Datasource:
    if request.param == "encrypted":
        found: Datasource = request.getfixturevalue("encrypted")
        return found
    fsspec.register_implementation("mounted", Mounted, clobber=True)
    return Generic(tmp_path)


def test_a_second_run_writes_nothing(datasource: Datasource) -> None:
    report = datasource.sync()
    assert report.documents.create == len(NAMES)
    for _ in range(2):
        report = datasource.sync()
        assert (report.changes, report.documents.keep, report.schema.written) == (0, len(NAMES), False)


def test_an_edited_row_changes_its_document_alone(datasource: Datasource) -> None:
    datasource.sync()
    datasource.rows[NAMES[7]]["cars"] = 700
    datasource.write_table()
    report = datasource.sync()
    assert (report.documents.update, report.changes) == (1, 1)
    assert Code.DOCUMENT_MODIFIED_EXTERNALLY not in report.findings
    assert datasource.sync().changes == 0, "by two pieces of the ledger"


def test_what_somebody_else_wrote_is_found(datasource: Datasource) -> None:
    """Other bytes of the same length, and, since nothing proves otherwise, the same bytes again."""
    datasource.sync()
    first, second = sorted(datasource.wanted)[:2]
    datasource.put(first, datasource.wanted[first].replace(b"scene 0", b"scene X"))
    datasource.put(second, datasource.wanted[second])
    report = datasource.sync()
    assert (report.documents.update, report.changes) == (2, 2)
    assert report.findings[Code.DOCUMENT_MODIFIED_EXTERNALLY] == 2
    named = {
        finding.target
        for finding in report.finding_examples
        if finding.code == Code.DOCUMENT_MODIFIED_EXTERNALLY
    }
    assert named == {first, second}
    assert datasource.sync().changes == 0


def test_a_lost_ledger_costs_one_run(datasource: Datasource) -> None:
    datasource.sync()
    for key in datasource.ledger():
        datasource.delete(key)
    report = datasource.sync()
    assert (report.documents.update, report.changes) == (len(NAMES), len(NAMES))
    assert Code.DOCUMENT_MODIFIED_EXTERNALLY not in report.findings, "without a ledger nothing is claimed"
    assert datasource.sync().changes == 0


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "newer"])
def test_a_damaged_ledger_costs_one_run_and_is_named(
    datasource: Datasource, damage: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    datasource.sync()
    [(key, data)] = datasource.ledger().items()
    if damage == "newer":
        (tmp_path / "piece").write_bytes(data)
        table = pq.read_table(tmp_path / "piece").replace_schema_metadata({"metaferry_version": "99"})
        pq.write_table(table, tmp_path / "piece")
        data = (tmp_path / "piece").read_bytes()
    other = {"cut": data[: len(data) // 2], "empty": b"", "noise": os.urandom(len(data)), "newer": data}
    datasource.put(key, other[damage])
    with caplog.at_level(logging.WARNING, "metaferry"):
        report = datasource.sync()
    assert report.documents.update == len(NAMES)
    [said] = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert key in said
    caplog.clear()
    with caplog.at_level(logging.WARNING, "metaferry"):
        assert datasource.sync().changes == 0
    # The damaged piece is named as long as it is there, and never believed.
    assert all(key in record.getMessage() for record in caplog.records)


def test_a_ledger_older_than_what_is_there(datasource: Datasource) -> None:
    """Put back as it was, it speaks of tokens that are gone: those documents are written once more."""
    datasource.sync()
    older = datasource.ledger()
    for name in NAMES[:3]:
        datasource.rows[name]["scene"] = "edited"
    datasource.write_table()
    assert datasource.sync().documents.update == 3
    for key in datasource.ledger():
        datasource.delete(key)
    for key, data in older.items():
        datasource.put(key, data)
    report = datasource.sync()
    assert (report.documents.update, report.changes) == (3, 3)
    assert report.findings[Code.DOCUMENT_MODIFIED_EXTERNALLY] == 3, (
        "not as our last run, so far as is known, left them"
    )
    assert datasource.sync().changes == 0


def test_many_runs_leave_few_pieces_that_still_prove_everything(datasource: Datasource) -> None:
    datasource.sync()
    for turn in range(10):
        datasource.rows[NAMES[turn]]["cars"] = 1000 + turn
        datasource.write_table()
        assert datasource.sync().changes == 1
        assert len(datasource.ledger()) <= 8
    assert datasource.sync().changes == 0


# -- S3 alone


def test_a_large_ledger_is_in_pieces_that_prove_as_much(
    datasource: Datasource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "PIECE_ROWS", 6)
    monkeypatch.setattr(state, "_MOST_LEDGER_PIECES", 3)
    pieces = []
    for run in range(5):
        datasource.rows[NAMES[run]]["cars"] = 1_000 + run
        datasource.write_table()
        report = datasource.sync()
        assert report.documents.create + report.documents.update == (1 if run else len(NAMES))
        pieces.append(len(datasource.ledger()))
    assert pieces[0] in range(2, 5)  # of the first run
    assert pieces[2] == pieces[0] + 2  # and one of each of two others, until all are one ledger again
    assert pieces[3] in range(2, 5)


@pytest.mark.servers
def test_a_second_run_asks_for_no_document(encrypted: Encrypted) -> None:
    encrypted.sync()
    encrypted.server.clear()
    assert encrypted.sync().changes == 0
    assert encrypted.requests() == [("GET", SCHEMA)]


@pytest.mark.servers
@pytest.mark.parametrize("conditions", ["ignore", "refuse"])
def test_without_conditional_writes(encrypted: Encrypted, conditions: str) -> None:
    encrypted.server.set(conditions=conditions)
    assert encrypted.sync().documents.create == len(NAMES)
    encrypted.server.clear()
    assert encrypted.sync().changes == 0
    assert encrypted.requests() == [("GET", SCHEMA)]
    target = sorted(encrypted.wanted)[4]
    encrypted.put(target, b"{}")
    report = encrypted.sync()
    assert (report.documents.update, report.changes) == (1, 1)
    assert report.findings[Code.DOCUMENT_MODIFIED_EXTERNALLY] == 1
    assert encrypted.sync().changes == 0


@pytest.mark.servers
def test_encryption_that_begins_and_ends(encrypted: Encrypted) -> None:
    """Tags that prove their content and tags that do not, side by side in one listing."""
    server = encrypted.server
    server.set(kms=False)
    encrypted.sync()
    server.set(kms=True)
    assert encrypted.sync().changes == 0
    for turn, kms in enumerate((True, False, True)):
        server.set(kms=kms)
        for name in NAMES[turn * 2 : turn * 2 + 4]:
            encrypted.rows[name]["cars"] = 100 + turn
        encrypted.write_table()
        report = encrypted.sync()
        assert (report.documents.update, report.changes) == (4, 4)
        assert Code.DOCUMENT_MODIFIED_EXTERNALLY not in report.findings
        assert encrypted.sync().changes == 0
    # Without the ledger, what the listing proves is kept, and the rest is written once.
    for key in encrypted.ledger():
        encrypted.delete(key)
    assert encrypted.sync().documents.update == 6
    assert encrypted.sync().changes == 0
