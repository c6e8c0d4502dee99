"""The tree as one table of the planning engine: a row for each media and document, a column for each entry.

`load_values` shows what the schema makes of it: defaults applied, frames with their video's values.
`load_as_written` has what each document itself says. Both take documents one by one, in whatever order, and
keep nothing in memory. Imported by the packages of `view` that show values; it reads no storage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from typing import Any, Final, Protocol

import pyarrow as pa

from metaferry.errors import UsageError
from metaferry.lightly.key_paths import join_path, split_path
from metaferry.lightly.names import Kind
from metaferry.lightly.nested import Steps, position
from metaferry.lightly.schema import Entry
from metaferry.lightly.values import SHAPES
from metaferry.lightly.values import Shape as JsonShape
from metaferry.planning.database import Database
from metaferry.planning.sql import rules as sql
from metaferry.view.export.shapes import Shape, converter, text_of

#: The table that both make.
TABLE: Final = "tree_values"
#: What it has beside the values.
FIXED: Final = ("target", "kind", "media", "frame", "state")
#: Keys of documents that become columns.
MOST_COLUMNS: Final = 2_000

#: States. A document with values; one that shows defaults alone; media without a document; a document
#: without its media; one of a frame under a number of digits that no consumer looks for; one that no consumer
#: can read, whose values are all null.
DOCUMENT: Final = "document"
DEFAULT: Final = "default"
MISSING: Final = "missing"
ORPHAN: Final = "orphan"
MISNAMED: Final = "misnamed"
INVALID: Final = "invalid"

_ARROW: Final = {
    JsonShape.INTEGER: pa.int64(),
    JsonShape.FLOAT: pa.float64(),
    JsonShape.STRING: pa.string(),
    JsonShape.BOOLEAN: pa.bool_(),
    JsonShape.DATETIME: pa.string(),
}
_HEAD: Final = pa.schema(
    [
        ("target", pa.string()),
        ("kind", pa.string()),
        ("media", pa.string()),
        ("frame", pa.int64()),
        ("state", pa.string()),
    ]
)
#: Documents, and bytes of them, that are converted at once: their values are Python's for so long.
_ROWS: Final = 10_000
_BYTES: Final = 8_000_000


class Read(Protocol):
    """A document as it was read. `frame` None: not of a frame. `metadata` is `{}` where `invalid`.

    size: its bytes, by which memory is bounded.
    """

    @property
    def target(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def media(self) -> str: ...
    @property
    def frame(self) -> int | None: ...
    @property
    def orphan(self) -> bool: ...
    @property
    def misnamed(self) -> bool: ...
    @property
    def invalid(self) -> bool: ...
    @property
    def metadata(self) -> dict[str, Any]: ...
    @property
    def size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """A column of values. `name` is that of people, unique in any letter case; `column` that of the table.

    steps: the key path below `metadata`. entry: its schema entry, None as written.
    """

    name: str
    column: str
    steps: Steps
    type: pa.DataType
    entry: Entry | None = None
    #: JSON text, since no type holds all values of this key.
    is_text: bool = False
    #: Whether integers among floats became floats.
    rewrites: bool = False


@dataclass(slots=True)
class Values:
    """The table, and how many rows of each state it has."""

    columns: tuple[ValueColumn, ...]
    table: str = TABLE
    states: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(self.states.values())


def load_values(database: Database, documents: Iterable[Read], entries: Sequence[Entry]) -> Values:
    """Makes the table with what a consumer shows, of the documents and of the engine's table `media`.

    Values are those that their entries say: the caller gives as `invalid` what does not fit. A video's
    values are below those of its frames' own documents, and defaults below both.
    """
    steps = [split_path(entry.path) for entry in entries]
    names = column_names(steps)
    columns = tuple(
        ValueColumn(name, f"v{n}", path, _ARROW[SHAPES[entry.type]], entry)
        for n, (name, path, entry) in enumerate(zip(names, steps, entries, strict=True))
    )
    schema = _with(columns)
    database.create_like("read_values", schema)
    takers = [_shown(column) for column in columns]
    for batch in _chunks(documents):
        arrays = _heads(batch)
        parsed = [each.metadata for each in batch]
        arrays += [take(parsed) for take in takers]
        database.insert("read_values", pa.Table.from_arrays(arrays, schema=schema))
    own = " OR ".join(f"r.{c.column} IS NOT NULL" for c in columns) or "false"
    inherited = " OR ".join(f"v.{c.column} IS NOT NULL" for c in columns) or "false"
    defaults = [_default(column) for column in columns]
    values = "".join(
        f", CASE WHEN r.state <> '{INVALID}' THEN coalesce(r.{c.column}, v.{c.column}, {default}) END "
        f"AS {c.column}"
        for c, default in zip(columns, defaults, strict=True)
    )
    plain = "".join(f", {default} AS {c.column}" for c, default in zip(columns, defaults, strict=True))
    database.run(
        f"""
        CREATE OR REPLACE TABLE {TABLE} AS
        SELECT r.target, r.kind, r.media, r.frame,
               CASE WHEN r.state = '{DOCUMENT}' AND NOT ({own} OR {inherited}) THEN '{DEFAULT}'
                    ELSE r.state END AS state{values}
        FROM read_values r
        LEFT JOIN (SELECT * FROM read_values WHERE kind = '{Kind.VIDEO}' AND state = '{DOCUMENT}') v
        ON r.kind = '{Kind.FRAME}' AND v.media = r.media
        UNION ALL BY NAME
        SELECT m.target, m.kind, m.path AS media, NULL::BIGINT AS frame, '{MISSING}' AS state{plain}
        FROM media m
        ANTI JOIN (SELECT media FROM read_values WHERE kind <> '{Kind.FRAME}') r ON r.media = m.path
        WHERE m.included
        """
    )
    database.run("DROP TABLE read_values")
    return _counted(database, columns)


def load_as_written(database: Database, documents: Iterable[Read]) -> Values:
    """Makes the table with what each document says: a column a key, null where it has none.

    Every key is there, whether the schema knows it or not. Raises UsageError beyond `MOST_COLUMNS` keys.
    """
    texts = _HEAD.append(pa.field("metadata", pa.string())).append(pa.field("n", pa.int64()))
    database.create_like("read_texts", texts)
    root, total, starts = Shape(most_keys=MOST_COLUMNS), 0, list[int]()
    for batch in _chunks(documents):
        starts.append(total)
        for each in batch:
            root.add(each.metadata)
        written = [text_of(each.metadata) for each in batch]
        numbers = pa.array(range(total, total + len(batch)), pa.int64())
        arrays = [*_heads(batch), pa.array(written, pa.string()), numbers]
        database.insert("read_texts", pa.Table.from_arrays(arrays, schema=texts))
        total += len(batch)
    columns = _columns_of(root)
    schema = _with(columns)
    database.create_like(TABLE, schema)
    takers = [_taker(column) for column in columns]
    for start, end in pairwise([*starts, total]):
        rows = database.rows(
            f"SELECT {', '.join(FIXED)}, metadata FROM read_texts WHERE n >= {start} AND n < {end}"
        )
        heads = [pa.array([row[n] for row in rows], kind) for n, kind in enumerate(_HEAD.types)]
        parsed = [json.loads(row[-1]) for row in rows]
        arrays = [*heads, *(take(parsed) for take in takers)]
        database.insert(TABLE, pa.Table.from_arrays(arrays, schema=schema))
    database.run("DROP TABLE read_texts")
    return _counted(database, columns)


def column_names(paths: Iterable[Steps]) -> list[str]:
    """A name for each key path: the path, or the first of `path (2)`, `path (3)` … that no other column has.

    Names are told apart in lower case, since SQL does not tell them apart otherwise.
    """
    taken, names = set(FIXED), []
    for steps in paths:
        path = join_path(steps).replace("\0", "\N{REPLACEMENT CHARACTER}")
        name, number = path, 2
        while name.lower() in taken:
            name, number = f"{path} ({number})", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


def _columns_of(root: Shape) -> tuple[ValueColumn, ...]:
    leaves = list(root.leaves())
    if root.values is not None or len(leaves) > MOST_COLUMNS:
        raise UsageError(
            f"the documents have more than {MOST_COLUMNS:,} keys: too many for the columns of a table",
            advice="export what the schema shows, without --as-written",
        )
    names = column_names(steps for steps, _ in leaves)
    return tuple(
        ValueColumn(name, f"v{n}", steps, kind or pa.string(), None, kind is None, shape.rewrites)
        for n, (name, (steps, shape)) in enumerate(zip(names, leaves, strict=True))
        for kind in [shape.type()]
    )


def _with(columns: Sequence[ValueColumn]) -> pa.Schema:
    return pa.schema([*_HEAD, *(pa.field(column.column, column.type) for column in columns)])


def _chunks(documents: Iterable[Read]) -> Iterator[list[Read]]:
    batch: list[Read] = []
    octets = 0
    for each in documents:
        batch.append(each)
        octets += each.size
        if len(batch) >= _ROWS or octets >= _BYTES:
            yield batch
            batch, octets = [], 0
    if batch:
        yield batch


def _heads(batch: Sequence[Read]) -> list[pa.Array]:
    states = [_state(each) for each in batch]
    columns: list[Sequence[Any]] = [
        [each.target for each in batch],
        [each.kind for each in batch],
        [each.media for each in batch],
        [each.frame for each in batch],
        states,
    ]
    return [pa.array(column, kind) for column, kind in zip(columns, _HEAD.types, strict=True)]


def _state(read: Read) -> str:
    if read.invalid:
        return INVALID
    return ORPHAN if read.orphan else MISNAMED if read.misnamed else DOCUMENT


def _counted(database: Database, columns: tuple[ValueColumn, ...]) -> Values:
    states = database.rows(f"SELECT state, count(*) FROM {TABLE} GROUP BY state ORDER BY state")
    return Values(columns, states=dict(states))


def _default(column: ValueColumn) -> str:
    """The default of an entry as SQL of the column's type."""
    assert column.entry is not None
    value = column.entry.default
    kind = {"int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN"}.get(str(column.type), "VARCHAR")
    if value is None:
        return f"NULL::{kind}"
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{sql.quote_text(text)}::{kind}"


def _shown(column: ValueColumn) -> Callable[[list[dict[str, Any]]], pa.Array]:
    """What makes a column of what its entry shows of the documents' `metadata`; null where it has nothing."""
    first, *rest = column.steps
    cast = {"int64": int, "double": float}.get(str(column.type))

    def one(metadata: dict[str, Any]) -> Any:
        value = metadata.get(first)
        for step in rest:
            value = _below(value, step)
        return value

    def take(parsed: list[dict[str, Any]]) -> pa.Array:
        values = [one(each) for each in parsed] if rest else [each.get(first) for each in parsed]
        try:
            return pa.array(values, column.type)
        except pa.ArrowInvalid:  # an integer that is no float as it stands, beyond 2^53
            if cast is None:
                raise
            return pa.array([None if value is None else cast(value) for value in values], column.type)

    return take


def _below(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list):
        index = position(step)
        return value[index] if index is not None and index < len(value) else None
    return None


def _taker(column: ValueColumn) -> Callable[[list[dict[str, Any]]], pa.Array]:
    """What makes a column of parsed documents."""
    *parents, last = column.steps
    convert = text_of if column.is_text else converter(column.type)
    key = itemgetter(last)

    def one(value: Any) -> Any:
        for step in parents:
            value = value.get(step) if isinstance(value, dict) else None
        value = key(value) if isinstance(value, dict) and last in value else None
        return value if convert is None else convert(value)

    return lambda parsed: pa.array([one(each) for each in parsed], column.type)
