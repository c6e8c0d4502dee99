"""Delta tables of features that the library reads and does not write, made by hand: a log and one file.

Deletion vectors are written inline, as the protocol has them: a Roaring bitmap in Z85 of 32-bit positions.
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#deletion-vector-format
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

_Z85: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_MAGIC: Final = 1681511377
_TYPES: Final = {pa.string(): "string", pa.int64(): "long", pa.float64(): "double"}


def with_deleted_rows(folder: Path, rows: pa.Table, deleted: Sequence[int]) -> None:
    """A table whose rows at these positions are deleted by a vector."""
    bitmap = _bitmap(deleted)
    vector = {
        "storageType": "i",
        "pathOrInlineDv": _z85(bitmap),
        "sizeInBytes": len(bitmap),
        "cardinality": len(deleted),
    }
    settings = {"delta.enableDeletionVectors": "true"}
    _write(folder, rows, rows.column_names, "deletionVectors", settings, {"deletionVector": vector})


def with_mapped_columns(folder: Path, rows: pa.Table) -> None:
    """A table whose columns have other names in its files."""
    physical = [f"col-{number}" for number in range(1, rows.num_columns + 1)]
    settings = {
        "delta.columnMapping.mode": "name",
        "delta.columnMapping.maxColumnId": str(rows.num_columns),
    }
    _write(folder, rows, physical, "columnMapping", settings, {})


def _write(
    folder: Path,
    rows: pa.Table,
    physical: Sequence[str],
    feature: str,
    settings: dict[str, str],
    more: dict[str, Any],
) -> None:
    log = folder / "_delta_log"
    log.mkdir(parents=True)
    path = folder / "part-0.parquet"
    pq.write_table(rows.rename_columns(list(physical)), path)
    fields = []
    for number, (field, name) in enumerate(zip(rows.schema, physical, strict=True), 1):
        mapped = {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": name}
        fields.append(
            {
                "name": field.name,
                "type": _TYPES[field.type],
                "nullable": True,
                "metadata": mapped if feature == "columnMapping" else {},
            }
        )
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": [feature],
        "writerFeatures": [feature],
    }
    metadata = {
        "id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "partitionColumns": [],
        "configuration": settings,
        "createdTime": 1_700_000_000_000,
    }
    add = {
        "path": path.name,
        "partitionValues": {},
        "size": path.stat().st_size,
        "modificationTime": 1_700_000_000_000,
        "dataChange": True,
        **more,
    }
    actions = [{"protocol": protocol}, {"metaData": metadata}, {"add": add}]
    (log / f"{0:020}.json").write_text("".join(f"{json.dumps(action)}\n" for action in actions))


def _bitmap(positions: Sequence[int]) -> bytes:
    """Positions below 65,536 as a RoaringBitmapArray of one bitmap of one container of values."""
    values = b"".join(struct.pack("<H", position) for position in sorted(positions))
    container = struct.pack("<II HH I", 12346, 1, 0, len(positions) - 1, 16) + values
    return struct.pack("<I Q I", _MAGIC, 1, 0)[:4] + struct.pack("<QI", 1, 0) + container


def _z85(data: bytes) -> str:
    data += b"\0" * (-len(data) % 4)
    out = []
    for at in range(0, len(data), 4):
        number = int.from_bytes(data[at : at + 4], "big")
        digits = []
        for _ in range(5):
            number, digit = divmod(number, 85)
            digits.append(_Z85[digit])
        out += reversed(digits)
    return "".join(out)
