"""A bit of a table that flips on its way makes no document wrong: what is read is what the store has."""

from __future__ import annotations

import gzip
import io
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import metaferry
from metaferry.errors import Corrupt
from metaferry.job.model import Job
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Entry
from metaferry.tables import parquet
from metaferry.tables.files import blocks, proof
from servers.datasource import FreshDatasource
from servers.s3_rules import Fault

pytestmark = pytest.mark.servers

SERVERS = {"fast_s3": "fast_s3_server", "gcs": "gcs_server", "fast_azure": "fast_azure_server"}
SCHEMES = {"fast_s3": "s3", "gcs": "gs", "fast_azure": "az"}
NAMES = [f"{n:03d}.png" for n in range(200)]
CSV = b"file_name,speed\n" + b"".join(
    b"%s,%d\n" % (name.encode(), 10_000 + n) for n, name in enumerate(NAMES)
)


def as_parquet() -> bytes:
    table = pa.csv.read_csv(io.BytesIO(CSV))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    return sink.getvalue()


def as_jsonl() -> bytes:
    rows = CSV.decode().splitlines()[1:]
    pairs = [row.split(",") for row in rows]
    return "".join(f'{{"file_name": "{name}", "speed": {speed}}}\n' for name, speed in pairs).encode()


TABLES = {
    "t.csv": CSV,
    "t.jsonl": as_jsonl(),
    "t.csv.gz": gzip.compress(CSV),
    "t.parquet": as_parquet(),
}


class World:
    def __init__(self, kind: str, url: str, options: dict[str, Any], server: Any, folder: Path) -> None:
        self.url, self.options, self.server = url, options, server
        self.media = folder / "media"
        self.media.mkdir()
        for name in NAMES:
            (self.media / name).write_bytes(b"x")
        self.scheme = SCHEMES[kind]

    def put(self, name: str, data: bytes) -> None:
        with Portal() as portal:
            storage = open_storage(self.url, self.options)
            portal.run(storage.put(name, data))
            portal.run(storage.close())

    def sync(self, table: str) -> metaferry.RunReport:
        job = {
            "input": str(self.media),
            "sources": [{"table": f"{self.url}{table}"}],
            "storage": {self.scheme: self.options},
            "retry_for": 2,
        }
        return metaferry.sync(Job.from_mapping(job))

    def documents(self) -> dict[str, bytes]:
        found = (self.media / ".lightly/metadata").glob("*.json")
        return {path.name: path.read_bytes() for path in found}


@pytest.fixture(params=list(SERVERS))
def world(request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, tmp_path: Path) -> Any:
    url, options = fresh_datasource(request.param)
    server = request.getfixturevalue(SERVERS[request.param])
    yield World(request.param, url, options, server, tmp_path)
    server.reset()


def only(*kinds: str) -> Any:
    return pytest.mark.parametrize("world", kinds, indirect=True)


def read_of(name: str) -> str:
    """The path of a read. A listing has the name in its query, where a flipped bit proves nothing."""
    return rf"^[^?]*{re.escape(name)}(\?.*)?$"


@pytest.mark.parametrize("table", list(TABLES))
@pytest.mark.parametrize("named", [True, False], ids=["named", "glob"])
def test_a_bit_that_flips_once_is_noticed(world: World, table: str, named: bool) -> None:
    world.put(table, TABLES[table])
    first = world.sync(table)
    assert (first.exit_code, first.documents.create) == (0, len(NAMES))
    right = world.documents()
    world.server.add(Fault("flip", method="GET", key=read_of(table)))
    wanted = table if named else f"*{table[1:]}"
    again = world.sync(wanted)
    assert (again.exit_code, again.changes, again.sources[0].used) == (0, 0, len(NAMES))
    assert world.documents() == right


@only("gcs", "fast_azure")
@pytest.mark.parametrize("table", list(TABLES))
def test_bytes_that_never_come_right_end_the_run_before_the_first_write(world: World, table: str) -> None:
    world.put(table, TABLES[table])
    world.server.add(Fault("flip", method="GET", key=read_of(table), times=1_000_000))
    with pytest.raises(metaferry.MetaferryError, match=r"t\.\w+.* ") as caught:
        world.sync(table)
    assert caught.value.exit_code == 1
    assert not (world.media / ".lightly").exists()


@pytest.mark.parametrize("table", ["t.csv", "t.csv.gz"])
def test_a_larger_table_is_compared_at_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setattr(blocks, "WHOLE", 10)
    world.put(table, TABLES[table])
    assert world.sync(table).exit_code == 0
    right = world.documents()
    world.server.add(Fault("flip", method="GET", key=read_of(table)))
    with pytest.raises(Corrupt):  # also where an archive notices by itself, before its end
        world.sync(table)
    assert world.documents() == right


@only("fast_s3")
@pytest.mark.parametrize("table", ["t.csv", "t.parquet"])
def test_a_tag_that_is_no_hash_ends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """As under KMS: it looks like an MD5."""
    world.put(table, TABLES[table])
    listed = proof._entry

    async def another(storage: Any, path: str) -> Entry | None:
        entry = await listed(storage, path)
        assert entry is not None
        return entry._replace(md5="0" * 32, token=entry.token)

    class Tag(proof.Proof):
        pass

    monkeypatch.setattr(proof, "_entry", another)
    monkeypatch.setattr(proof, "Proof", lambda md5, certain, size, token: Tag(md5, False, size, token))
    report = world.sync(table)
    assert (report.exit_code, report.documents.create) == (0, len(NAMES))


def test_the_pages_of_a_larger_parquet_file_are_checked_by_their_own_sums(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "WHOLE", 10)
    sink = io.BytesIO()
    table = pa.csv.read_csv(io.BytesIO(CSV))
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_page_checksum=True)
    damaged = bytearray(sink.getvalue())
    at = damaged.index((10_050).to_bytes(8, "little"))
    damaged[at] ^= 1
    world.put("t.parquet", bytes(damaged))
    with pytest.raises(metaferry.MetaferryError, match="cannot be read as Parquet"):
        world.sync("t.parquet")
    assert not (world.media / ".lightly").exists()


def test_the_fault_flips_what_it_should(world: World) -> None:
    world.put("t.csv", CSV)
    world.server.add(Fault("flip", method="GET", key=read_of("t.csv")))
    with Portal() as portal:
        storage = open_storage(world.url, world.options)
        data = portal.run(storage.read("t.csv", 0, len(CSV))).data
        portal.run(storage.close())
    assert len(data) == len(CSV)
    assert data != CSV
