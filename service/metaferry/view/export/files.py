"""The table as a file: Parquet, CSV or JSON lines, by its name. Written to a local path, never read.

Rows come as Arrow batches in their order and go out one batch at a time. Text formats are built by the
engine, with numbers as documents have them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from metaferry.errors import UsageError
from metaferry.lightly.document import json_string
from metaferry.masking import showable
from metaferry.planning.sql import rules as sql

Format = Literal["parquet", "csv", "jsonl"]

_FORMATS: Final[dict[str, Format]] = {
    "parquet": "parquet",
    "pq": "parquet",
    "csv": "csv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
}
_COMPRESSION: Final = {"gz": "gzip", "zst": "zstd"}
#: Rows of a row group: what a reader of the file holds at once.
ROW_GROUP: Final = 100_000
#: Characters that make a CSV reader need quotes.
_QUOTED: Final = '[",\\r\\n]'


@dataclass(frozen=True, slots=True)
class FileFormat:
    """What a file's name says. `compression` is that of the whole file: Parquet is compressed inside."""

    format: Format
    compression: str | None = None


def format_of(out: str) -> FileFormat:
    """The format of a file of this name. UsageError for a name that says none."""
    name = out.partition("?")[0].lower().rpartition("/")[2]
    stem, _, last = name.rpartition(".")
    compression = _COMPRESSION.get(last)
    if compression is not None:
        stem, _, last = stem.rpartition(".")
    found = _FORMATS.get(last) if stem else None
    if found is None or (compression and found == "parquet"):
        raise UsageError(
            f"{showable(out)}: the name of the file does not say what it should be",
            advice="end it with .parquet, .csv or .jsonl, the last two also with .gz or .zst behind",
        )
    return FileFormat(found, compression)


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of a text file: its name, its SQL, and its type in the engine."""

    name: str
    column: str
    type: str


def write_parquet(
    path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], metadata: Mapping[str, bytes]
) -> int:
    """Writes Parquet with these entries in the file's metadata; answers the number of rows."""
    rows, pending, held = 0, list[pa.RecordBatch](), 0
    schema = schema.with_metadata(dict(metadata) or None)
    with pq.ParquetWriter(path, schema, compression="zstd", write_statistics=True) as writer:

        def flush() -> None:
            nonlocal pending, held
            writer.write_table(pa.Table.from_batches(pending, schema), row_group_size=ROW_GROUP)
            pending, held = [], 0

        for batch in batches:
            pending.append(batch.cast(schema))
            held += len(batch)
            rows += len(batch)
            if held >= ROW_GROUP:
                flush()
        if pending:
            flush()
    return rows


def write_lines(path: Path, head: str, batches: Iterable[pa.RecordBatch], compression: str | None) -> int:
    """Writes text: `head`, then the one text column of each batch, a line each; answers their number."""
    rows = 0
    with closing(pa.output_stream(str(path), compression=compression)) as stream:
        stream.write(head.encode())
        for batch in batches:
            lines = batch.column(0).to_pylist()
            if lines:
                stream.write(("\n".join(lines) + "\n").encode())
                rows += len(lines)
    return rows


def line_of(format: Format, columns: Sequence[TextColumn]) -> str:
    """SQL of one line of text, without its end."""
    if format == "jsonl":
        members = (
            f"{sql.quote_text(json_string(c.name) + ':')} || "
            f"coalesce({sql.json_value(c.column, c.type)}, 'null')"
            for c in columns
        )
        return "('{' || " + " || ',' || ".join(members) + " || '}')"
    return "(" + " || ',' || ".join(_csv_cell(column) for column in columns) + ")"


def head_of(format: Format, columns: Sequence[TextColumn]) -> str:
    """What stands before the first line."""
    if format == "jsonl":
        return ""
    return ",".join(_quoted(column.name) for column in columns) + "\n"


def _csv_cell(column: TextColumn) -> str:
    """An empty cell is a missing value; empty text is in quotes, as is JSON of lists and objects."""
    text = column.column if column.type == "VARCHAR" else sql.json_value(column.column, column.type)
    if column.type in ("BIGINT", "DOUBLE", "BOOLEAN"):
        return f"coalesce({text}, '')"
    escaped = f"""'"' || replace({text}, '"', '""') || '"'"""
    return (
        f"CASE WHEN {column.column} IS NULL THEN '' WHEN {text} = '' OR regexp_matches({text}, '{_QUOTED}') "
        f"THEN {escaped} ELSE {text} END"
    )


def _quoted(name: str) -> str:
    if any(character in name for character in '",\r\n'):
        return '"' + name.replace('"', '""') + '"'
    return name
