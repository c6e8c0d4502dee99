"""Parquet into a staging table: only the columns that are used, a batch at a time.

Footers are read first, so files that disagree are found before anything is read. Integers of
different widths, and other types that one type holds without loss, become that type.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from metaferry.errors import Changed, Corrupt, JobError, NotFound
from metaferry.storage.io.portal import Portal
from metaferry.storage.io.reader import RangeFile
from metaferry.tables.columns import cast, check_values, common_schema, engine_errors, first_line
from metaferry.tables.files.blocks import ByteStream, refuse
from metaferry.tables.files.content import HEAD, looks_like_text
from metaferry.tables.files.find import TableObject, missing
from metaferry.tables.files.proof import WHOLE, proof_of, read_whole
from metaferry.tables.model import Column, Reading, Staged, TableFile, folded
from metaferry.tables.samples import MOST, ROWS, of_arrow
from metaferry.tables.staging import (
    BATCH_ROWS,
    StagingTable,
    numbers_from,
    own_names,
    plain_rows,
    quote_ident,
    rows_of,
    taken_unasked,
)

if TYPE_CHECKING:
    import duckdb

#: Bytes of a column that nobody uses, up to which its first values are read for people.
_CHEAP: Final = 64 << 10
#: Footers read at once; one is a request or two.
_PARALLEL: Final = 8


def stage_parquet(
    con: duckdb.DuckDBPyConnection,
    files: Sequence[TableObject],
    *,
    table: str,
    used: frozenset[str] | None,
    portal: Portal,
    place: str,
    progress: Callable[[int], None],
) -> Staged:
    """The columns of `used` (names as `folded` gives them; None: all) of all files.

    Raises JobError for what is no Parquet file, for files that disagree on a used column, and for
    a type that the engine does not know.
    """
    with ThreadPoolExecutor(_PARALLEL) as pool:
        footers = list(pool.map(lambda file: _footer(file, portal, place), files))
    schema = common_schema([(footer.file.url, footer.schema) for footer in footers], used, place)
    with engine_errors(con, schema, files[0].url, place):
        own = pa.schema(list(zip(own_names(len(schema)), schema.types, strict=True)))
        staging = StagingTable(con, table, own, progress)
    done = []
    others: list[tuple[str, pa.DataType, pa.Array | None]] = []

    def look(reader: pq.ParquetFile) -> None:
        if not others:
            others.extend(_others(reader, used))

    with staging:
        for index, footer in enumerate(footers):
            row = 1
            for batch in _batches(footer, schema, portal, place, look):
                staging.append(index, numbers_from(row, len(batch[0])), batch[1])
                row += len(batch[0])
            done.append(TableFile(footer.file.url, footer.size, footer.token, row - 1))
        staging.flush()
    columns = dict(zip(schema.names, own_names(len(schema)), strict=True))
    types = {row[0]: row[1] for row in con.execute(f"DESCRIBE {quote_ident(table)}").fetchall()}
    return Staged(
        table=table,
        columns=tuple(Column(name, types[own]) for name, own in columns.items()),
        names=tuple({folded(name): name for f in footers for name in f.schema.names}.values()),
        files=tuple(done),
        malformed=0,
        relation=rows_of(table, columns),
        why_text=lambda name: "",
        plain=plain_rows(table, columns),
        reading=Reading(format="parquet"),
        others=of_arrow(con, others),
    )


@dataclass(frozen=True, slots=True)
class _Footer:
    file: TableObject
    metadata: Any
    schema: pa.Schema
    size: int
    token: str


def schema_of(file: TableObject, portal: Portal, place: str) -> pa.Schema:
    """The columns of one file, by its footer alone. Raises what `stage_parquet` raises for its file."""
    return _footer(file, portal, place).schema


def _open(file: TableObject, portal: Portal, token: str | None) -> RangeFile:
    return RangeFile(file.storage, portal, file.path, size=file.size, version=token or file.token)


def _footer(file: TableObject, portal: Portal, place: str) -> _Footer:
    if file.compression:
        raise JobError(
            f"{file.url}: Parquet is compressed inside and cannot be read from an archive",
            place=place,
            advice="unpack the file",
        )
    with _read_errors(file, portal, place):
        try:
            with _open(file, portal, None) as raw, pa.PythonFile(raw, mode="r") as source:
                if raw.size == 0:
                    what = f"{file.url} is no Parquet file: it is empty"
                    raise JobError(what, place=place, advice="write the table again")
                reader = pq.ParquetFile(source)
                return _Footer(file, reader.metadata, reader.schema_arrow, raw.size, raw.token or "")
        except (pa.ArrowException, OSError):
            # The file may be at fault, or what came of it: only the bytes of the whole tell.
            proof = proof_of(file, portal)
            if proof is None or proof.size > WHOLE:
                _refuse_other(file, portal, place)
                raise
            content, token = read_whole(file, portal, proof)
            if not content.startswith(b"PAR1"):
                _refuse_other(file, portal, place)
            reader = pq.ParquetFile(pa.BufferReader(content))
            return _Footer(file, reader.metadata, reader.schema_arrow, len(content), token)


def _refuse_other(file: TableObject, portal: Portal, place: str) -> None:
    """Raises JobError for a file that is something else by its first bytes."""
    stream = ByteStream(file, portal, place)
    stream.open()
    if stream.content == "arrow":
        raise JobError(
            f"{file.url} is an Arrow file, not Parquet", place=place, advice="name its format: format: arrow"
        )
    if stream.content and stream.content != "parquet":
        refuse(stream, place)
    head = next(stream.blocks(), b"")[:HEAD]
    if head and not stream.content and (stream.packed or looks_like_text(head)):
        raise JobError(
            f"{file.url} is {'a packed text' if stream.packed else 'text'}, not Parquet",
            place=place,
            advice="name its format: format: csv, tsv or jsonl",
        )


@contextlib.contextmanager
def _reader(footer: _Footer, portal: Portal, place: str) -> Iterator[pq.ParquetFile]:
    """A file to read rows from: a small one whole and proved, a larger one by ranges.

    Of ranges only pages with a checksum of their own are proved. The footer is that of the proved bytes.
    """
    file = footer.file
    proof = proof_of(file, portal)
    with _read_errors(file, portal, place):
        if proof is not None and proof.size <= WHOLE:
            content, token = read_whole(file, portal, proof)
            if token != footer.token:
                raise Changed(
                    f"{file.url} was replaced while it was read", url=file.storage.url, path=file.path
                )
            reader = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
            if reader.schema_arrow != footer.schema or reader.metadata.num_rows != footer.metadata.num_rows:
                raise Corrupt(f"the footer of {file.url} came damaged", url=file.storage.url, path=file.path)
            yield reader
            return
        with _open(file, portal, footer.token) as raw, pa.PythonFile(raw, mode="r") as source:
            yield pq.ParquetFile(source, metadata=footer.metadata, page_checksum_verification=True)


def _others(
    reader: pq.ParquetFile, used: frozenset[str] | None
) -> Iterator[tuple[str, pa.DataType, pa.Array | None]]:
    """The first columns that are not used, as many as are shown; of the cheap ones, with the first values."""
    schema = reader.schema_arrow
    unused = ((n, t) for n, t in zip(schema.names, schema.types, strict=True) if not _is_taken(n, used))
    shown = list(islice(unused, MOST))
    names, often = {name for name, _ in shown}, Counter(schema.names)
    cheap: set[str] = set()
    if names and reader.num_row_groups and reader.metadata.row_group(0).num_rows:
        group = reader.metadata.row_group(0)
        sizes: Counter[str] = Counter()
        for at in range(group.num_columns):
            chunk = group.column(at)
            sizes[chunk.path_in_schema.partition(".")[0]] += chunk.total_compressed_size
        # A column called `a.b` also selects the field b of a, and a name that stands twice both.
        cheap = {n for n in names if "." not in n and often[n] == 1 and sizes[n] <= _CHEAP}
    first: Any = None
    if cheap:
        with contextlib.suppress(pa.ArrowException, OSError):  # whoever uses it hears of it
            first = next(reader.iter_batches(batch_size=ROWS, row_groups=[0], columns=sorted(cheap)), None)
    for name, kind in shown:
        yield name, kind, first.column(name) if first is not None and name in cheap else None


def _is_taken(name: str, used: frozenset[str] | None) -> bool:
    return taken_unasked(name) if used is None else folded(name) in used


def _batches(
    footer: _Footer, schema: pa.Schema, portal: Portal, place: str, look: Callable[[pq.ParquetFile], None]
) -> Iterator[tuple[pa.Array, list[pa.Array]]]:
    """Batches of a file: an array of its length, and the columns in the schema's order and types."""
    file = footer.file
    with _reader(footer, portal, place) as reader:
        look(reader)
        row = 1
        own = {folded(name): name for name in footer.schema.names}
        here = {field.name: own[key] for field in schema if (key := folded(field.name)) in own}
        if not here:
            rows = reader.metadata.num_rows
            for start in range(0, rows, BATCH_ROWS):
                count = min(BATCH_ROWS, rows - start)
                yield pa.nulls(count), [pa.nulls(count, field.type) for field in schema]
            return
        for batch in reader.iter_batches(batch_size=BATCH_ROWS, columns=list(here.values())):
            # A column called `a.b` also selects the field b of a: taken by name, exactly.
            columns = [
                cast(batch.column(batch.schema.names.index(here[field.name])), field, file.url, place)
                if field.name in here
                else pa.nulls(len(batch), field.type)
                for field in schema
            ]
            for field, column in zip(schema, columns, strict=True):
                check_values(column, field, file.url, row, place)
            row += len(batch)
            yield columns[0], columns


@contextlib.contextmanager
def _read_errors(file: TableObject, portal: Portal, place: str) -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise missing(file, place, portal, error) from error
    except (pa.ArrowException, OSError) as error:
        raise JobError(
            f"{file.url} cannot be read as Parquet: {first_line(error)}",
            place=place,
            advice="write it again, or, where it is another kind of table, name its format: format: csv",
        ) from error
