"""The pieces of a backup: Parquet files of bounded size, each put into the state folder once it is full."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from metaferry.lightly.document import md5_hex
from metaferry.planning.formats import BACKUP_COLUMNS, BACKUP_VERSION, PlanFile
from metaferry.runs.state.folder import State

#: Bytes of a piece before compression, unless one document has more. A piece is in memory when it is put.
PIECE_BYTES: Final = 32_000_000
#: Bytes of a row group of a piece.
_GROUP_BYTES: Final = 8_000_000
#: What a row counts beside its target and body.
ROW_BYTES: Final = 150

_TYPES: Final = {
    "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
}
_SCHEMA: Final = pa.schema([(name, _TYPES[kind]) for name, kind in BACKUP_COLUMNS.items()])


class Kept(NamedTuple):
    """A row of a piece, as BACKUP_COLUMNS."""

    target: str
    action: str
    body: bytes | None
    token: str | None
    md5: str | None
    size: int | None
    ours: bool
    written: str | None


class Pieces:
    """Writes rows into files of bounded size, and puts each into the state folder once it is full."""

    def __init__(self, scratch: Path, state: State, run_id: str, part: str) -> None:
        self._path = scratch / "backup.parquet"
        self._state = state
        self._run_id = run_id
        self._part = part
        self._files: list[PlanFile] = []
        self._rows: list[Kept] = []
        self._group = 0  # bytes of `_rows`
        self._piece = 0  # bytes of the piece, those of `_rows` among them
        self._writer: pq.ParquetWriter | None = None
        self.rows = 0

    def add(self, row: Kept) -> None:
        octets = ROW_BYTES + len(row.target.encode()) + len(row.body or b"")
        if self._piece and self._piece + octets > PIECE_BYTES:
            self._end_piece()
        self._rows.append(row)
        self._group += octets
        self._piece += octets
        self.rows += 1
        if self._group >= _GROUP_BYTES:
            self._end_group()

    def close(self) -> list[PlanFile]:
        """The last piece is written; the names of all."""
        if self._piece:
            self._end_piece()
        return self._files

    def discard(self) -> None:
        """Removes what is left in the scratch folder."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._path.unlink(missing_ok=True)

    def _end_group(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            metadata = {"metaferry_version": str(BACKUP_VERSION), "metaferry_run": self._run_id}
            self._writer = pq.ParquetWriter(
                self._path, _SCHEMA.with_metadata(metadata), compression="zstd", use_dictionary=["action"]
            )
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._writer.schema))
        self._rows, self._group = [], 0

    def _end_piece(self) -> None:
        self._end_group()
        assert self._writer is not None  # a piece has rows
        self._writer.close()
        self._writer, self._piece = None, 0
        data = self._path.read_bytes()
        name = f"{self._part}.{len(self._files):04d}.parquet"
        self._state.write(self._state.backup_key(self._run_id, name), data)
        self._files.append(PlanFile(name, len(data), md5_hex(data)))
