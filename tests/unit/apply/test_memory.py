"""Memory of applying a plan is bounded by the bytes under way, whatever the size of a document."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metaferry.apply.shards import Step, weighed
from metaferry.planning.formats import Action

#: Applies a plan of 3,000 documents of 100 kB to a store that keeps nothing; MB that its memory grew by.
APPLY = """
import asyncio, resource, sys, threading
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from metaferry.apply.apply import apply_plan
from metaferry.apply.outcome import Tally
from metaferry.storage.protocol import PutResult
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.retry.storage import Retrying

folder = Path(sys.argv[1]) / "shard=000"
folder.mkdir()
types = pa.schema([(name, pa.string()) for name in ("target", "action", "body", "md5", "expect")])
with pq.ParquetWriter(folder / "x.parquet", types, compression="zstd") as writer:
    for start in range(0, 3000, 100):
        rows = [(f"d{n}.json", "create", "%0100000d" % n, "m", None) for n in range(start, start + 100)]
        batch = pa.table([list(column) for column in zip(*rows)], schema=types)
        writer.write_table(batch, row_group_size=3000)

class Nowhere(MemoryAdapter):
    def put_blocking(self, path, data, **more):
        threading.Event().wait(0.001)
        return PutResult("t", "m")

    async def put(self, path, data, **more):
        await asyncio.sleep(0.001)
        return PutResult("t", "m")

if sys.argv[2] == "loop":
    Nowhere.put_blocking = None

async def run():
    storage = Retrying(Nowhere("x"), concurrency=32)
    if sys.argv[2] == "loop":
        storage._direct = None
    tally = Tally()
    await apply_plan(folder.parent, storage, concurrency=32, record=lambda rows: None, tally=tally)
    assert tally.create == 3000, tally

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
asyncio.run(run())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("lane", ["threads", "loop"])
def test_large_documents_are_not_gathered_in_memory(tmp_path: Path, lane: str) -> None:
    """300 MB of bodies; it was nearly all of them."""
    done = subprocess.run(
        [sys.executable, "-c", APPLY, str(tmp_path), lane],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 120, f"{done.stdout.strip()} MB more"


def test_chunks_are_bounded_by_number_and_by_bytes() -> None:
    def step(size: int) -> Step:
        return Step("t", Action.CREATE, b"x" * size, "m", None)

    small = [step(1) for _ in range(130)]
    assert [len(chunk) for chunk in weighed(small, 64, 100)] == [64, 64, 2]
    mixed = [step(60), step(60), step(500), step(1), step(1)]
    assert [[len(one.body) for one in chunk] for chunk in weighed(mixed, 64, 100)] == [
        [60],
        [60],
        [500],
        [1, 1],
    ]
    assert list(weighed([], 64, 100)) == []
