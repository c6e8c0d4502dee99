"""How long samples take to be joined to frames: 3 million frames at 59.94 Hz, 0.9 million samples at 18.

    python -m benchmarks.time_join [--frames N] [--json PATH]

The samples are a table in the engine already, and the times of frames come from memory: what is measured is
the SQL, within the memory limit of a job. `join` is the join of frames and samples alone, with five values of
which one is missing in most samples; `all` is everything that a run does with samples and times that were
read. Seconds of processor time say more than the clock on a machine with other work.
"""

from __future__ import annotations

import argparse
import resource
import time
from array import array
from collections.abc import Iterable, Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Final

import pyarrow as pa

from benchmarks import record
from metaferry import Job
from metaferry.media.frames.model import FrameCount, Times
from metaferry.planning.database import open_database
from metaferry.progress import Silent
from metaferry.tables.model import FILE, ROW, Column, Staged, TableFile
from metaferry.tables.staging import own_names, plain_rows, quote_ident, rows_of
from metaferry.tables.telemetry import load
from metaferry.tables.telemetry.parsed import parse_samples

FRAMES: Final = 3_000_000
#: Frames of one video, eight minutes.
_LONG: Final = 30_000
_COLUMNS: Final = {
    "t": "BIGINT",
    "speed": "DOUBLE",
    "heading": "DOUBLE",
    "lat": "DOUBLE",
    "lon": "DOUBLE",
    "gear": "BIGINT",
    "video": "VARCHAR",
}
_SOURCE: Final[dict[str, Any]] = {
    "telemetry": {"table": "/can.csv"},
    "video": "video",
    "time": {"column": "t", "unit": "ns"},
    "start": "first_sample",
    "metadata": {
        "speed": {"linear": "speed"},
        "heading": {"angular": "heading"},
        "lat": {"linear": "lat"},
        "lon": {"angular": "lon"},
        "gear": {"nearest": "gear"},
    },
}


class Videos:
    """Videos whose frames are shown at 59.94 Hz, from memory."""

    def __init__(self, count: int) -> None:
        self.storage = SimpleNamespace(url="/in")
        self._paths = [f"{number:06}.mp4" for number in range(count)]
        self._times = Times(Fraction(1, 60_000), array("q", range(0, _LONG * 1_001, 1_001)))

    def batches(self) -> Iterator[pa.RecordBatch]:
        count = len(self._paths)
        columns = [self._paths, [1] * count, ["t"] * count, ["video"] * count]
        yield pa.RecordBatch.from_arrays(list(map(pa.array, columns)), ["path", "size", "token", "kind"])

    def frames(self, videos: Iterable[str]) -> Iterator[FrameCount]:
        for path in videos:
            yield FrameCount(path, _LONG, 5, "index", times=self._times)


def measure(frames: int) -> dict[str, Any]:
    videos = max(1, frames // _LONG)
    samples = videos * _LONG * 1_001 * 18 // 60_000
    job = Job.from_mapping({"input": "/in", "sources": [_SOURCE]})
    source, names = job.sources[0], own_names(len(_COLUMNS))
    own = dict(zip(_COLUMNS, names, strict=True))
    each, join = samples // videos, load._join
    spent = {}

    def timed(*given: Any) -> Any:
        begun, cpu = time.perf_counter(), time.process_time()
        joined = join(*given)
        spent.update(join_seconds=time.perf_counter() - begun, join_cpu_seconds=time.process_time() - cpu)
        return joined

    with open_database(memory_limit=job.memory_limit, scratch=None) as database:
        values = (
            f"1777636800000000000 + (i % {each}) * 1000000000 // 18",
            "sin(i)",
            "(i * 7 % 360)::DOUBLE",
            "48 + sin(i) / 100",
            "11 + cos(i) / 100",
            "CASE WHEN i % 3 = 0 THEN i % 6 END",
            f"lpad((i // {each})::VARCHAR, 6, '0') || '.mp4'",
        )
        listed = ", ".join(
            f"({value})::{kind} AS {quote_ident(name)}"
            for value, kind, name in zip(values, _COLUMNS.values(), names, strict=True)
        )
        database.run(
            f"CREATE TABLE raw AS SELECT 0::INTEGER AS {FILE}, i AS {ROW}, {listed} "
            f"FROM range({samples}) r(i)"
        )
        staged = Staged(
            table="raw",
            columns=tuple(Column(name, kind) for name, kind in _COLUMNS.items()),
            names=tuple(_COLUMNS),
            files=(TableFile("/can.csv", 0, "", samples),),
            malformed=0,
            relation=rows_of("raw", own),
            why_text=lambda name: "",
            plain=plain_rows("raw", own),
        )
        load._join = timed
        begun, cpu = time.perf_counter(), time.process_time()
        try:
            found = load.load_samples(
                database.connection,
                source,
                parse_samples(source, "sources[0]"),
                staged,
                index=0,
                media=Videos(videos),  # type: ignore[arg-type]
                stated="",
                progress=Silent(),
            )
        finally:
            load._join = join
        spent.update(all_seconds=time.perf_counter() - begun, all_cpu_seconds=time.process_time() - cpu)
    assert found.account.filled == found.loaded.read
    return {
        "frames": found.account.frames,
        "samples": found.account.samples,
        "filled": found.account.filled,
        **spent,
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--frames", type=int, default=FRAMES)
    asked, found = record.begin(parser, frames=_LONG)
    one = measure(asked.frames)
    print(
        f"{one['frames']:,} frames, {one['samples']:,} samples, {one['filled']:,} frames with values: "
        f"join {one['join_seconds']:.1f} s ({one['join_cpu_seconds']:.1f} s of processor time), "
        f"all {one['all_seconds']:.1f} s ({one['all_cpu_seconds']:.1f} s), peak {one['peak_mib']:,} MiB"
    )
    found.write(one)


if __name__ == "__main__":
    main()
