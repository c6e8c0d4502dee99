"""The rows of a plan that ask for something, streamed out of its Parquet files.

A plan is a folder `shard=NNN/*.parquet`. Reading keeps one batch in memory, never a shard.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metaferry.planning.formats import Action

_COLUMNS = ["target", "action", "body", "md5", "expect"]
#: Rows that become Python objects at once: a moment's work, since all threads wait for it.
_BATCH_ROWS = 1_024
_ACTIONS = {str(action): action for action in Action}


class Step(NamedTuple):
    """One write or delete: what apply needs of a row of the plan. A tuple: there are millions of them."""

    target: str
    action: Action
    body: bytes
    md5: str
    expect: str | None


def shard_numbers(plan: Path) -> list[int]:
    """The shards that a plan has, in order; a shard that nothing fell into is none."""
    return sorted(int(folder.name.partition("=")[2]) for folder in plan.glob("shard=*"))


def shard_files(plan: Path, shards: Collection[int] | None = None) -> list[Path]:
    """The files of a plan, shard by shard; `shards` None is all of them."""
    wanted = shard_numbers(plan) if shards is None else sorted(shards)
    return [file for shard in wanted for file in sorted(plan.glob(f"shard={shard:03d}/*.parquet"))]


def batches(
    plan: Path, actions: frozenset[Action], shards: Collection[int] | None = None
) -> Iterator[list[Step]]:
    """The steps with these actions, a batch at a time. Blocking: call it in a thread."""
    wanted = pa.array(sorted(str(action) for action in actions), type=pa.string())
    for file in shard_files(plan, shards):
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=_COLUMNS):
                chosen = batch.filter(pc.is_in(batch["action"], value_set=wanted))
                if chosen.num_rows:
                    columns = [
                        chosen["target"].to_pylist(),
                        map(_ACTIONS.__getitem__, chosen["action"].to_pylist()),
                        pc.fill_null(chosen["body"], "").cast(pa.binary()).to_pylist(),
                        pc.fill_null(chosen["md5"], "").to_pylist(),
                        chosen["expect"].to_pylist(),
                    ]
                    yield list(map(Step._make, zip(*columns, strict=True)))
