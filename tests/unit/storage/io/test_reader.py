"""RangeFile: what decoders and pyarrow see of an object, and what it costs."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from metaferry.errors import Changed, NotFound
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.io.reader import RangeFile
from metaferry.storage.retry.storage import Retrying

DATA = random.Random(3).randbytes(100_000)


@pytest.fixture
def storage(tmp_path: Path, portal: Portal) -> Retrying:
    storage = open_storage(str(tmp_path), retry_for=0.0)
    portal.run(storage.put("x.bin", DATA))
    portal.run(storage.put("empty.bin", b""))
    return storage


@pytest.mark.parametrize("block", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("size", [None, len(DATA)])
def test_it_reads_like_the_file(storage: Retrying, portal: Portal, block: int, size: int | None) -> None:
    rng = random.Random(block)
    with RangeFile(storage, portal, "x.bin", size=size, block=block) as file, io.BytesIO(DATA) as model:
        for _ in range(60):
            whence = rng.choice([0, 1, 2])
            base = {0: 0, 1: model.tell(), 2: len(DATA)}[whence]
            target = rng.randrange(0, len(DATA) + 50)
            assert file.seek(target - base, whence) == model.seek(target - base, whence)
            count = rng.choice([0, 1, 10, 5000, 200_000])
            assert file.read(count) == model.read(count)
            assert file.tell() == model.tell()
        file.seek(99_990)
        assert file.read() == DATA[-10:]
        assert file.read() == b""


def test_it_buffers_and_counts(storage: Retrying, portal: Portal) -> None:
    file = RangeFile(storage, portal, "x.bin", size=len(DATA), block=10_000)
    for at in range(0, 10_000, 100):
        file.seek(at)
        assert file.read(100) == DATA[at : at + 100]
    assert (file.requests, file.bytes) == (1, 10_000)
    file.seek(-10, io.SEEK_END)
    file.read()
    file.seek(0)
    file.read(10)  # the first window is still there
    assert file.requests == 2
    assert file.bytes == 10_010
    assert storage.requests.get == 2


def test_a_known_size_spares_a_request(storage: Retrying, portal: Portal) -> None:
    for size, requests in ((len(DATA), 1), (None, 2)):
        file = RangeFile(storage, portal, "x.bin", size=size, block=100)
        file.seek(-100, io.SEEK_END)
        assert file.read() == DATA[-100:]
        assert file.requests == requests


def test_it_is_pinned_to_what_it_saw_first(storage: Retrying, portal: Portal) -> None:
    file = RangeFile(storage, portal, "x.bin", block=10)
    assert file.read(10) == DATA[:10]
    portal.run(storage.put("x.bin", bytes(len(DATA))))
    file.seek(50_000)
    with pytest.raises(Changed):
        file.read(10)


def test_it_is_pinned_to_what_the_listing_saw(storage: Retrying, portal: Portal) -> None:
    token = portal.run(storage.put("x.bin", b"old")).token
    portal.run(storage.put("x.bin", b"new"))
    with pytest.raises(Changed):
        RangeFile(storage, portal, "x.bin", version=token).read(1)


def test_an_empty_object(storage: Retrying, portal: Portal) -> None:
    file = RangeFile(storage, portal, "empty.bin")
    assert file.read() == b""
    assert file.seek(0, io.SEEK_END) == 0
    assert file.size == 0


def test_a_missing_object(storage: Retrying, portal: Portal) -> None:
    with pytest.raises(NotFound):
        RangeFile(storage, portal, "gone.bin").read(1)


def test_it_refuses_what_a_file_refuses(storage: Retrying, portal: Portal) -> None:
    file = RangeFile(storage, portal, "x.bin")
    with pytest.raises(ValueError, match="before the start"):
        file.seek(-1)
    with pytest.raises(ValueError, match="whence"):
        file.seek(0, 9)
    with pytest.raises(ValueError, match="block"):
        RangeFile(storage, portal, "x.bin", block=0)
    assert not file.writable()
    file.close()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)
    assert portal.run(storage.read("x.bin", 0, 1)).data == DATA[:1]  # the storage stays open


def test_pyarrow_reads_parquet_through_it(storage: Retrying, portal: Portal) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"n": list(range(50_000)), "s": [f"row {n}" for n in range(50_000)]})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=5000)
    portal.run(storage.put("t.parquet", sink.getvalue()))
    file = RangeFile(storage, portal, "t.parquet", block=1 << 16)
    assert pq.read_table(pa.PythonFile(file, mode="r")).equals(table)
    one = RangeFile(storage, portal, "t.parquet", block=1 << 12)
    group = pq.ParquetFile(pa.PythonFile(one, mode="r")).read_row_group(3, columns=["n"])
    assert group.column("n").to_pylist() == list(range(15_000, 20_000))
    assert one.bytes < len(sink.getvalue()) / 2
