"""The rows of a plan that write or delete, streamed from its Parquet files.

A plan is a folder `shard=NNN/*.parquet`. Reading keeps one batch in memory, never a shard.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metaferry.planning.formats import Action

_COLUMNS = ["target", "action", "body", "md5", "expect"]
#: Rows that become Python objects at once: few, since all threads wait meanwhile.
_BATCH_ROWS = 1_024
#: Bytes of bodies that are read at once, and bytes of a file that are.
_BATCH_BYTES = 4 << 20
_READ_BYTES = 1 << 20
_ACTIONS = {str(action): action for action in Action}


class Step(NamedTuple):
    """One write or delete: what apply needs of a row of the plan. A tuple: there are millions of them."""

    target: str
    action: Action
    body: bytes
    md5: str
    expect: str | None


def shard_numbers(plan: Path) -> list[int]:
    """The numbers of the shards that have rows, in order."""
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
        # With a buffer a row group is not read as a whole: it may be gigabytes of large bodies.
        with pq.ParquetFile(file, buffer_size=_READ_BYTES) as parquet:
            for batch in parquet.iter_batches(batch_size=_batch_rows(parquet), columns=_COLUMNS):
                chosen = batch.filter(pc.is_in(batch["action"], value_set=wanted))
                if chosen.num_rows:
                    columns = [
                        chosen["target"].to_pylist(),
                        map(_ACTIONS.__getitem__, chosen["action"].to_pylist()),
                        pc.fill_null(chosen["body"].cast(pa.binary()), b"").to_pylist(),
                        pc.fill_null(chosen["md5"], "").to_pylist(),
                        chosen["expect"].to_pylist(),
                    ]
                    yield list(map(Step._make, zip(*columns, strict=True)))


def _batch_rows(parquet: pq.ParquetFile) -> int:
    """Rows of a file that are read at once, so that their bodies are about `_BATCH_BYTES` at most."""
    metadata = parquet.metadata
    largest = 1
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        bodies = sum(
            group.column(at).total_uncompressed_size
            for at in range(group.num_columns)
            if group.column(at).path_in_schema == "body"
        )
        largest = max(largest, bodies // max(1, group.num_rows))
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // largest))


def weighed(steps: Sequence[Step], most: int, heaviest: int) -> Iterator[list[Step]]:
    """The steps in chunks of at most `most`, and `heaviest` bytes of bodies (a single step may have more)."""
    chunk: list[Step] = []
    weight = 0
    for step in steps:
        if chunk and (len(chunk) >= most or weight + len(step.body) > heaviest):
            yield chunk
            chunk, weight = [], 0
        chunk.append(step)
        weight += len(step.body)
    if chunk:
        yield chunk
