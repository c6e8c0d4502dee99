"""Arrow IPC (Feather) into a staging table: files and streams, only the columns that are used.

A file is a stream between a mark at its start and a footer, so both are read as a stream, a batch at a
time, out of archives too. Schemas are read first, so files that disagree are found before any row.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from metaferry.errors import Changed, JobError
from metaferry.tables.columns import cast, check_values, common_schema, engine_errors, first_line
from metaferry.tables.files.archives import Pull
from metaferry.tables.files.blocks import ByteStream
from metaferry.tables.files.content import ARROW_FILE, REFUSALS
from metaferry.tables.model import Column, Reading, Staged, TableFile, folded
from metaferry.tables.samples import ROWS, of_arrow
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

#: Bytes of a file of which a whole batch may be read for people.
_SMALL: Final = 32 << 20
#: Files whose schema is read at once.
_PARALLEL: Final = 8


def stage_arrow(
    con: duckdb.DuckDBPyConnection,
    streams: Callable[[int], ByteStream],
    urls: Sequence[str],
    *,
    table: str,
    used: frozenset[str] | None,
    place: str,
    progress: Callable[[int], None],
) -> Staged:
    """The columns of `used` (names as `folded` gives them; None: all) of all files.

    `streams` opens file number n from its start. Raises JobError for what is no Arrow file, or not a whole
    one, for files that disagree on a used column, and for a type that the engine does not know.
    """

    others: list[tuple[str, pa.DataType, pa.Array | None]] = []

    def schema_of(index: int) -> tuple[pa.Schema, str]:
        stream = streams(index)
        with _reader(stream, place) as reader:
            if not index:
                others.extend(_others(reader, used, stream.size))
            return reader.schema, stream.token

    with ThreadPoolExecutor(_PARALLEL) as pool:
        found = list(pool.map(schema_of, range(len(urls))))
    schemas = [(url, own) for url, (own, _) in zip(urls, found, strict=True)]
    schema = common_schema(schemas, used, place)
    with engine_errors(con, schema, urls[0], place):
        listed = pa.schema(list(zip(own_names(len(schema)), schema.types, strict=True)))
        staging = StagingTable(con, table, listed, progress)
    done = []
    reading = Reading()
    with staging:
        for index, (url, (own, token)) in enumerate(zip(urls, found, strict=True)):
            stream = streams(index)
            row = 1
            for count, columns in _batches(stream, own, schema, place):
                staging.append(index, numbers_from(row, count), columns)
                row += count
            if stream.token != token:
                raise Changed(
                    f"{url} was replaced while it was read",
                    url=stream.file.storage.url,
                    path=stream.file.path,
                )
            reading = reading if index else Reading(format="arrow", packed=stream.packed)
            done.append(TableFile(url, stream.size, stream.token, row - 1))
        staging.flush()
    named = dict(zip(schema.names, own_names(len(schema)), strict=True))
    types = {row[0]: row[1] for row in con.execute(f"DESCRIBE {quote_ident(table)}").fetchall()}
    return Staged(
        table=table,
        columns=tuple(Column(name, types[each]) for name, each in named.items()),
        names=tuple({folded(name): name for _, each in schemas for name in each.names}.values()),
        files=tuple(done),
        malformed=0,
        relation=rows_of(table, named),
        why_text=lambda name: "",
        plain=plain_rows(table, named),
        reading=reading,
        others=of_arrow(con, others),
    )


@contextlib.contextmanager
def _reader(
    stream: ByteStream, place: str, fields: Sequence[int] | None = None
) -> Iterator[pa.RecordBatchStreamReader]:
    """A file's batches to its end, of the fields at these positions ([]: of all); None: the schema alone."""
    stream.open()
    url = stream.file.url
    if stream.size == 0:
        what = f"{url} is no Arrow file: it is empty"
        raise JobError(what, place=place, advice="write the table again")
    if stream.content != "arrow":
        known = REFUSALS.get(stream.content)
        called = known.called if known else stream.content.title() or "of no known format"
        raise JobError(
            f"{url} is {called}, and no Arrow file",
            place=place,
            advice=known.advice if known else "make it a source of its own, with its format: format: csv",
        )
    blocks = stream.blocks()
    first = next(blocks)
    is_file = first.startswith(ARROW_FILE)
    pull = Pull(itertools.chain([first.removeprefix(ARROW_FILE)], blocks))
    options = pa.ipc.IpcReadOptions(included_fields=list(fields or ()))
    try:
        with pa.ipc.open_stream(pa.PythonFile(pull, mode="r"), options=options) as reader:
            yield reader
    except (pa.ArrowException, OSError) as error:
        pull.drain()  # Corrupt, where it came damaged: then the file is not at fault
        raise JobError(
            f"{url} is no whole Arrow file: {first_line(error)}",
            place=place,
            advice="write it again, or upload it again",
        ) from error
    if fields is not None:
        pull.drain()
        if is_file and not pull.last.endswith(ARROW_FILE.rstrip(b"\0")):
            raise JobError(
                f"{url} is no whole Arrow file: it has no footer", place=place, advice="upload it again"
            )


def _others(
    reader: pa.RecordBatchStreamReader, used: frozenset[str] | None, size: int
) -> Iterator[tuple[str, pa.DataType, pa.Array | None]]:
    """The columns that are not used; those of a small file with the first values."""
    names = reader.schema.names
    places = [
        at for at, n in enumerate(names) if not (taken_unasked(n) if used is None else folded(n) in used)
    ]
    first: Any = None
    if places and size <= _SMALL:
        with contextlib.suppress(StopIteration):
            first = reader.read_next_batch()[:ROWS]
    for at in places:
        yield names[at], reader.schema.types[at], None if first is None else first.column(at)


def _batches(
    stream: ByteStream, own: pa.Schema, schema: pa.Schema, place: str
) -> Iterator[tuple[int, list[pa.Array]]]:
    """Numbers of rows, and the columns of `schema`, in its order and types, of a file with those of `own`."""
    url = stream.file.url
    places = {folded(name): at for at, name in enumerate(own.names)}
    fields = sorted(places[key] for name in schema.names if (key := folded(name)) in places)
    row = 1
    with _reader(stream, place, fields) as reader:
        for whole in reader:
            for start in range(0, whole.num_rows, BATCH_ROWS):
                batch = whole.slice(start, BATCH_ROWS)
                columns = []
                for field in schema:
                    at = places.get(folded(field.name))
                    found = pa.nulls(len(batch), field.type) if at is None else batch.column(fields.index(at))
                    column = cast(found, field, url, place)
                    check_values(column, field, url, row, place)
                    columns.append(column)
                yield len(batch), columns
                row += len(batch)
