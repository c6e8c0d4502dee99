"""Done-markers: the result of each shard of a plan, as one file a shard in the state folder.

They are in the datasource and not beside the plan: they say what was written *there*, a process that
writes documents may write them too, and a plan can be a folder that workers may only read. Each is one
Parquet file, the outcomes of the shard's writes with their counts in its metadata, put at once: a
shard is done as a whole or not at all. They can be lost without harm: a shard without one is
written again, which finds in place what it would write.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from metaferry.planning.database import Database
from metaferry.planning.formats import (
    OLDER_PLAN_VERSIONS,
    OUTCOME_COLUMNS,
    PLAN_VERSION,
    KeptPlan,
    ShardMarker,
    read_format,
)
from metaferry.planning.sql.rules import quote_text
from metaferry.runs.state.folder import State
from metaferry.runs.state.ledger import export_parquet
from metaferry.storage.io.concurrent import batched

log = logging.getLogger(__name__)

_COUNTS: Final = "metaferry_marker"
_COLUMNS: Final = ", ".join(OUTCOME_COLUMNS)
#: Markers that are in memory at once: each has a row for every document of its shard.
_PARALLEL: Final = 64


class Markers:
    """The done-markers of one plan: what the state folder held at the last look."""

    def __init__(self, plan: KeptPlan, state: State) -> None:
        self._plan = plan
        self._state = state
        self.found: dict[int, ShardMarker] = {}

    def look(self, shards: Iterable[int] | None = None) -> dict[int, ShardMarker]:
        """The markers of these shards (None: of all that write): one listing, and one read of each.

        One that is damaged, or of another plan, is named in the log and counts as none.
        """
        writing = {shard.number for shard in self._plan.shards if shard.writes}
        writing = writing if shards is None else writing & set(shards)
        there = self._state.marker_keys(self._plan.plan_id) if writing else set()
        keys = {shard: self._state.marker_key(self._plan.plan_id, shard) for shard in sorted(writing)}
        for some in batched(keys.items(), _PARALLEL):
            read = self._state.read_all(key for _, key in some if key in there)
            for shard, key in some:
                self.found.pop(shard, None)
                if key in read:
                    self._take(shard, key, read[key])
        return {shard: marker for shard, marker in self.found.items() if shard in writing}

    def load(self, shards: Iterable[int], database: Database) -> None:
        """Adds the outcomes of shards that have a marker to the table `outcomes`."""
        for some in batched(shards, _PARALLEL):
            keys = {self._state.marker_key(self._plan.plan_id, shard): shard for shard in some}
            for key, data in self._state.read_all(keys).items():
                self._load(keys[key], data, database)

    def _load(self, shard: int, data: bytes, database: Database) -> None:
        file = database.scratch / f"marker-{shard}.parquet"
        try:
            file.write_bytes(data)
            database.run(f"INSERT INTO outcomes SELECT {_COLUMNS} FROM read_parquet({quote_text(str(file))})")
        finally:
            file.unlink(missing_ok=True)

    def write(self, marker: ShardMarker, database: Database) -> None:
        """Puts the marker of a shard, with the rows of the table `outcomes`."""
        data = export_parquet(
            database, f"SELECT {_COLUMNS} FROM outcomes", "marker", {_COUNTS: marker.to_json()}
        )
        self._state.write(self._state.marker_key(self._plan.plan_id, marker.shard), data)
        self.found[marker.shard] = marker

    def _take(self, shard: int, key: str, data: bytes) -> None:
        try:
            metadata = pq.read_metadata(pa.BufferReader(data)).metadata or {}
            counts = metadata.get(_COUNTS.encode(), b"null")
            marker = read_format(ShardMarker, counts, PLAN_VERSION, older=OLDER_PLAN_VERSIONS)
            wanted = (self._plan.plan_id, shard, self._plan.shards[shard].writes)
            if (marker.plan_id, marker.shard, marker.writes) != wanted:
                raise ValueError("it is not of this shard")
        except (pa.ArrowException, ValueError) as error:
            log.warning("%s is not used, the shard is written again: %s", self._state.url_of(key), error)
            return
        self.found[shard] = marker


def rows_to_do(folder: Path, database: Database) -> None:
    """Reduces the files of a shard to the rows without an outcome."""
    for file in sorted(folder.glob("shard=*/*.parquet")):
        left = file.with_suffix(".left")
        database.run(
            f"COPY (SELECT * FROM read_parquet({quote_text(str(file))}, hive_partitioning = false) "
            "WHERE target NOT IN (SELECT target FROM outcomes)) "
            f"TO {quote_text(str(left))} (FORMAT parquet, COMPRESSION zstd)"
        )
        left.replace(file)
