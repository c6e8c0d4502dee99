"""An export as written, synced by its own job into an empty place, is the same tree, byte for byte."""

from __future__ import annotations

import math
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import metaferry
from metaferry.job.model import Job
from unit.media import synthetic

IMAGES: Final = ("a.png", "d/b b.jpg", "\u00fc#?.png", "d/${X}.png")
VIDEO: Final = "d/clip.mp4"
FRAMES: Final = 9

TEXT: Final = st.sampled_from(
    ["", "x", 'q"\\\n,', "\u2028\U0001f600", "1", "true", "null", "${X}", "2026-01-02"]
)
FLOATS: Final = st.sampled_from([0.0, -0.0, 0.1, 1e16, 1e-07, 3.0, -2.5e300, math.nan, math.inf])
INTEGERS: Final = st.sampled_from([0, 1, -7, 2**53, -(2**53), 2**63 - 1])
BOX: Final = pa.struct([("label", pa.string()), ("area", pa.float64()), ("deep", pa.list_(pa.int64()))])

#: Columns of a table with their types, and their values. What has an entry fits it.
COLUMNS: Final[dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]]] = {
    "count": (pa.int64(), st.sampled_from([0, 1, -7, 2**53])),
    "speed": (pa.float64(), FLOATS),
    "narrow": (pa.float32(), st.sampled_from([0.1, 1.5, 16777216.0])),
    "night": (pa.bool_(), st.booleans()),
    "scene": (pa.string(), TEXT),
    "when": (pa.timestamp("ms", "UTC"), st.sampled_from([0, 1_767_323_045_678])),
    "weather": (
        pa.struct([("temperature", pa.float64()), ("description", pa.string())]),
        st.fixed_dictionaries({}, optional={"temperature": FLOATS, "description": TEXT}),
    ),
    "tags": (pa.list_(pa.string()), st.lists(st.none() | TEXT, max_size=3)),
    "numbers": (pa.list_(pa.int64()), st.lists(INTEGERS, max_size=3)),
    "large": (pa.list_(pa.decimal128(38, 0)), st.lists(st.sampled_from([2**64, -(10**37)]), max_size=2)),
    "boxes": (
        pa.list_(BOX),
        st.lists(
            st.fixed_dictionaries(
                {}, optional={"label": TEXT, "area": FLOATS, "deep": st.lists(INTEGERS, max_size=2)}
            ),
            max_size=3,
        ),
    ),
    "limits": (
        pa.map_(pa.string(), pa.float64()),
        st.dictionaries(st.sampled_from(["max", "a.b", "[0]", "", "A", "a"]), FLOATS, max_size=4).map(
            lambda value: sorted(value.items())
        ),
    ),
    "kind": (pa.string(), TEXT),
    "Kind": (pa.int64(), st.sampled_from([1, 2])),
}


def rows(drawn: Any) -> st.SearchStrategy[list[dict[str, Any]]]:
    values = st.fixed_dictionaries({}, optional={name: st.none() | made for name, (_, made) in drawn.items()})
    images = st.fixed_dictionaries(dict.fromkeys(IMAGES, values))
    frames = st.dictionaries(st.integers(0, FRAMES - 1), values, max_size=3)
    return st.tuples(images, values, frames).map(
        lambda world: [
            *({"file_name": name, "frame": None, **each} for name, each in world[0].items()),
            {"file_name": VIDEO, "frame": None, **world[1]},
            *({"file_name": VIDEO, "frame": index, **each} for index, each in world[2].items()),
        ]
    )


@cache
def video() -> bytes:
    return synthetic.video(FRAMES)


def tree(folder: Path) -> dict[str, bytes]:
    below = folder / ".lightly"
    return {str(path.relative_to(below)): path.read_bytes() for path in below.rglob("*") if path.is_file()}


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(rows(COLUMNS))
def test_a_tree_of_ours_comes_back_byte_for_byte(table: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        for name in IMAGES:
            (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "data" / name).write_bytes(b"")
        (root / "data" / VIDEO).write_bytes(video())
        schema = pa.schema(
            [
                ("file_name", pa.string()),
                ("frame", pa.int64()),
                *((name, kind) for name, (kind, _) in COLUMNS.items()),
            ]
        )
        columns = {
            field.name: pa.array([row.get(field.name) for row in table], field.type) for field in schema
        }
        # Two columns that differ in letter case are two tables: no table has both.
        sources = []
        for number, left_out in enumerate(["Kind", "kind"]):
            kept = {name: column for name, column in columns.items() if name != left_out}
            if number:
                kept = {name: kept[name] for name in ("file_name", "frame", "Kind")}
            pq.write_table(pa.table(kept), root / f"{number}.parquet")
            sources.append({"table": f"{number}.parquet", "frame": "frame"})
        job = Job.from_mapping({"input": "data", "sources": sources}, base=root)
        written = metaferry.sync(job)
        assert written.exit_code == 0, written.finding_examples
        found = metaferry.export_file(str(root / "data"), root / "x.parquet", as_written=True)
        assert (found.exit_code, found.notes) == (0, [])
        (root / "empty").mkdir()
        back = Job.load(root / "x.parquet.job.yaml", [f"lightly={root / 'empty'}"])
        report = metaferry.sync(back)
        assert report.exit_code == 0, report.finding_examples
        assert tree(root / "empty") == tree(root / "data")
