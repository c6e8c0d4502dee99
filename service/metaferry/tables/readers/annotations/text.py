"""JSON values of annotation formats as columns hold them: identifiers as text, objects with keys told once.

Pure functions; what is no row is a `Bad`. `Batches` gathers rows of a relation into Arrow batches.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa

from metaferry.tables.model import folded
from metaferry.tables.readers.contract import BATCH_ROWS, ReaderRelation, Rows, Wanted

_TEXT: Final = msgspec.json.Decoder(str)
_TEXT_OR_NULL: Final = msgspec.json.Decoder(str | None)
#: Bytes held before they become a batch.
_BATCH_BYTES: Final = 8 << 20


def identifier(raw: msgspec.Raw | None) -> str | None:
    """An identifier as `number_text` gives it; None for null. ValueError for a list, an object, a boolean."""
    token = bytes(raw) if raw is not None else b""
    if not token or token == b"null":
        return None
    if token[:1] == b'"':
        return _TEXT.decode(token)
    if token[:1] in b"{[tf":
        raise ValueError(f"an identifier is a number or text, is {shown(token)}")
    whole = not any(mark in token for mark in b".eE")
    return number_text(token.decode() if whole else float(token))


def number_text(value: int | float | str | None) -> str | None:
    """An identifier as text: `5`, `"5"` and 5.0, which pandas makes of it, are one; so is a number of 38
    digits with itself alone."""
    if value is None or value.__class__ is str:
        return value
    if value.__class__ is float and value.is_integer():
        return str(int(value))
    return str(value)


def twice(text: bytes, keys: Sequence[str]) -> str:
    """The first of these keys that one object of a text has more than once; "" where there is none.

    Looked for where the bytes make it possible: most texts are passed by counting.
    """
    if all(text.count(b'"%b"' % key.encode()) < 2 for key in keys):
        return ""
    found: list[str] = []

    def members(pairs: list[tuple[str, Any]]) -> None:
        names = [key for key, _ in pairs]
        if len(set(names)) < len(names):
            found.extend(name for name in names if names.count(name) > 1)

    try:
        json.loads(text, object_pairs_hook=members)
    except (ValueError, RecursionError):
        return ""  # said better by whoever decodes it
    return found[0] if found else ""


def shown(text: bytes) -> str:
    """The beginning of a text, for people."""
    return text[:80].decode(errors="replace") + ("…" if len(text) > 80 else "")


class Bad(Exception):
    """An element that is no row: why, in which column, and what stands there."""

    def __init__(self, message: str, column: str = "", value: str = "", expected: str = "") -> None:
        super().__init__(message)
        self.message, self.column, self.value, self.expected = message, column, value, expected

    def of(self, element: str) -> Bad:
        """The same, with the element that it is about."""
        return Bad(f"{element}: {self.message}", self.column, self.value, self.expected)


def decoded(decoder: msgspec.json.Decoder[Any], text: bytes) -> Any:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at ")
        column = path.strip("`").removeprefix("$.").removeprefix("$")
        raise Bad(f"{column or 'it'} is wrong: {what}".replace("`", ""), column) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Bad(f"it is no valid JSON: {error}") from None


def no_key_twice(text: bytes, keys: Sequence[str]) -> None:
    key = twice(text, keys)
    if key:
        raise Bad(f"the key {key} stands twice in one object", key)


def identifier_of(raw: msgspec.Raw | None, column: str) -> str | None:
    try:
        return identifier(raw)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Bad(str(error), column) from None


def as_text(raw: msgspec.Raw | None, column: str) -> str | None:
    if raw is None:
        return None
    try:
        text: str | None = _TEXT_OR_NULL.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Bad(f"{column} is no text: {shown(bytes(raw))}", column, expected="text") from None
    return text


def object_of(values: Mapping[str, msgspec.Raw]) -> str:
    """The object of these keys, as it stands in the file."""
    members = (b"%b:%b" % (msgspec.json.encode(key), bytes(raw)) for key, raw in values.items())
    return (b"{%b}" % b",".join(members)).decode()


def object_text(text: bytes) -> str | None:
    """A value that is an object; all others have no keys."""
    return text.decode() if text[:1] == b"{" else None


class Batches:
    """Rows of one relation on their way into batches: values in the order of its wanted columns."""

    def __init__(self, relation: ReaderRelation, wanted: Wanted, file: int) -> None:
        named = wanted[relation.name]
        self._relation = relation
        self._file = file
        columns = [c for c in relation.columns if named is None or folded(c.name) in named]
        self.names = frozenset(column.name for column in columns)
        self._schema = pa.schema([(column.name, column.type) for column in columns])
        self._columns: dict[str, list[Any]] = {column.name: [] for column in columns}
        self._places: list[int] = []
        self._size = 0

    def add(self, place: int, size: int, **values: Any) -> None:
        """One row; `size` is about how many bytes it holds. Columns that are not wanted are left out."""
        self._places.append(place)
        self._size += size
        for name, column in self._columns.items():
            column.append(values.get(name))

    def full(self) -> Iterator[Rows]:
        """The batch, where there is enough for one."""
        if len(self._places) >= BATCH_ROWS or self._size >= _BATCH_BYTES:
            yield from self.rest()

    def rest(self) -> Iterator[Rows]:
        """What is left, at the end."""
        if not self._places:
            return
        places, columns = self._places, self._columns
        arrays = [pa.array(columns[field.name], field.type) for field in self._schema]
        # Without a column nothing would say how many rows there are.
        batch = (
            pa.RecordBatch.from_arrays(arrays, schema=self._schema)
            if arrays
            else pa.RecordBatch.from_arrays([pa.nulls(len(places))], names=[""]).select([])
        )
        self._places, self._columns, self._size = [], {name: [] for name in columns}, 0
        yield Rows(self._relation.name, pa.array(places, pa.int64()), batch, self._file)
