"""Whole stretches of JSON objects as typed columns, where they are just what was seen before.

Arrow's reader is strict: it takes no text for a number, no key twice, no key that the schema does not
have, nothing that RFC 8259 forbids but NaN. So objects that it reads under the schema of the structure so
far need no look at each; all others are left to `lines`, which says what is wrong or new. What Arrow would
read in another way than the engine (`-0`, integers beyond 2**53 among doubles) is left to it too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from metaferry.tables.json.shapes import Structure
from metaferry.tables.model import folded
from metaferry.tables.staging import arrow_pool, quote_ident, quote_text

#: Integers up to here are doubles too.
EXACT: Final = 2**53
#: Bytes that a thread reads at once.
_BLOCK: Final = 1 << 21
#: Zero with a sign, which is a whole number, or in a key or a text.
_MINUS_ZERO_BITS: Final = pa.scalar(-(2**63), pa.int64())
_MINUS_ZERO: Final = re.compile(rb"-0[\s,\]}]")
#: An ASCII character in digits, of which a key could be made.
_ESCAPED: Final = re.compile(rb"\\u00[0-7]")
_PLAIN_NAME: Final = re.compile(r"[ !#-\[\]-~]+")
_LONG_INTEGER: Final = re.compile(rb"[0-9]{16}")


@dataclass(frozen=True, slots=True)
class Schema:
    """What Arrow reads by: fields of `used` keys, and of the others as far as they have one type.

    `strict`: a key that is not there is refused; otherwise such keys may be anything, and `used_names` (as
    `folded` gives them; not known yet: None) have to be looked for in the text.
    """

    options: pj.ParseOptions
    used: Mapping[str, Structure]
    strict: bool
    used_names: Mapping[str, str | None]


class Part(NamedTuple):
    """Some of the objects that were read, in their order. Columns without a value are left out."""

    rows: int
    columns: Mapping[str, pa.Array]


def schema_of(structure: Structure, others: Structure | None, used: frozenset[str] | None) -> Schema | None:
    """The schema of objects whose used keys are those of `structure`; None where Arrow has none.

    `others` are keys that are not used; None where they have none that can be told.
    """
    fields = {key: arrow_type(member) for key, member in structure.members.items()}
    beside = None if others is None else {key: arrow_type(member) for key, member in others.members.items()}
    strict = beside is not None and None not in beside.values()
    if None in fields.values() or (not strict and used is None):
        return None
    known = {folded(key): key for key in fields}
    names: dict[str, str | None] = {name: known.get(name) for name in used or ()}
    if not strict and not all(map(_PLAIN_NAME.fullmatch, names)):
        return None
    every = {**(beside or {}), **fields} if strict else fields
    return Schema(
        pj.ParseOptions(
            explicit_schema=pa.schema(list(every.items())),
            unexpected_field_behavior="error" if strict else "ignore",
        ),
        dict(structure.members),
        strict,
        names,
    )


def arrow_type(structure: Structure) -> pa.DataType | None:
    """The type that takes what the structure holds and nothing else; None where there is none."""
    kind = structure.plain_type()
    kinds = structure.kinds
    if kinds == {"object"}:
        members = {key: arrow_type(member) for key, member in structure.members.items()}
        return None if None in members.values() else pa.struct(list(members.items()))
    if kind == "LIST":
        item = arrow_type(structure.items) if structure.items is not None else pa.null()
        # An object without a value is text in a list.
        return None if item is None or (pa.types.is_struct(item) and not _holds(item)) else pa.list_(item)
    if not kinds:
        return pa.null()
    if kind == "VARCHAR":
        return None if structure.is_mixed else pa.string()
    return {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "BOOLEAN": pa.bool_()}.get(kind)


def parsed(text: bytes, count: int, schema: Schema, *, one_a_line: bool) -> list[Part] | None:
    """The used columns of `count` objects, one after the other; None where they are not exactly that.

    `one_a_line`: none of them has a line end in it.
    """
    if not schema.strict and not _names_are_plain(text, schema.used_names):
        return None
    if not is_utf8(text):
        return None
    try:
        table = _read(text, schema) if one_a_line else _read_whole(text, schema)
    except pa.ArrowInvalid:
        return None
    if table.num_rows != count:
        return None
    odd = _Odd(text)
    for key, member in schema.used.items():
        if not all(_is_exact(chunk, member, odd) for chunk in table.column(key).chunks):
            return None
    keys = [key for key in schema.used if _holds(table.schema.field(key).type)]
    if not keys:
        return [Part(count, {})]
    # As they were read: to make one array of a column would copy all of it.
    return [
        Part(batch.num_rows, {key: _with_values(batch.column(key)) for key in keys})
        for batch in table.select(keys).to_batches()
    ]


def _read(text: bytes, schema: Schema) -> pa.Table:
    """By as many threads as there are, each a number of lines."""
    try:
        options = pj.ReadOptions(block_size=_BLOCK)
        return pj.read_json(pa.BufferReader(text), options, schema.options, arrow_pool())
    except pa.ArrowInvalid as error:
        if "straddl" not in str(error):
            raise
        return _read_whole(text, schema)  # a line is longer than a block


def _read_whole(text: bytes, schema: Schema) -> pa.Table:
    options = pj.ReadOptions(use_threads=False, block_size=len(text) + 1)
    return pj.read_json(pa.BufferReader(text), options, schema.options, arrow_pool())


def is_utf8(text: bytes) -> bool:
    """Whether a text is UTF-8, which Arrow's reader does not look at."""
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False


def _names_are_plain(text: bytes, names: Mapping[str, str | None]) -> bool:
    """Whether no key of the text may be a used one that is not known, or one in another letter case."""
    if _ESCAPED.search(text):
        return False
    lowered = text.lower()
    for name, known in names.items():
        quoted = b'"%b"' % name.encode()
        if known is None:
            if quoted in lowered:
                return False
        elif lowered.count(quoted) != text.count(b'"%b"' % known.encode()):
            return False
    return True


class _Odd:
    """What stands in a text, looked for once and when it is asked for."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    @functools.cached_property
    def minus_zero(self) -> bool:
        return b"-0" in self._text and bool(_MINUS_ZERO.search(self._text))

    @functools.cached_property
    def long_integer(self) -> bool:
        return bool(_LONG_INTEGER.search(self._text))


def _is_exact(column: pa.Array, structure: Structure, odd: _Odd) -> bool:
    """Whether the numbers are those that the engine would read, and of a kind that is known."""
    kind = column.type
    if pa.types.is_struct(kind):
        return all(
            _is_exact(column.field(at), structure.members[kind[at].name], odd) for at in range(len(kind))
        )
    if pa.types.is_list(kind):
        return structure.items is None or _is_exact(column.values, structure.items, odd)
    if pa.types.is_int64(kind) and "int64" not in structure.kinds:
        low, high = _bounds(column)
        return low >= -EXACT and high <= EXACT
    if pa.types.is_float64(kind) and len(column) > column.null_count:
        if not pc.all(pc.is_finite(column)).as_py() or (_has_minus_zero(column) and odd.minus_zero):
            return False
        low, high = _bounds(column)
        return (low > -EXACT and high < EXACT) or not odd.long_integer
    return True


def _has_minus_zero(column: pa.Array) -> bool:
    """By its bits: it equals the other zero. The text need not be searched where there is none."""
    return bool(pc.any(pc.equal(column.view(pa.int64()), _MINUS_ZERO_BITS)).as_py())


def _bounds(column: pa.Array) -> tuple[float, float]:
    bounds = pc.min_max(column).as_py()
    return (bounds["min"] or 0, bounds["max"] or 0)


def _holds(kind: pa.DataType) -> bool:
    """Whether a value of the type can be one."""
    if pa.types.is_struct(kind):
        return any(_holds(field.type) for field in kind)
    return not pa.types.is_null(kind)


def kept_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column that `parsed` gives: without fields that hold nothing."""
    if not pa.types.is_struct(kind):
        return kind
    return pa.struct([(field.name, kept_type(field.type)) for field in kind if _holds(field.type)])


def _with_values(column: pa.Array) -> pa.Array:
    """The column without fields that hold nothing, which the engine has no type for."""
    kind = column.type
    if pa.types.is_struct(kind):
        kept = [at for at in range(len(kind)) if _holds(kind[at].type)]
        children = [_with_values(column.field(at)) for at in kept]
        fields = [pa.field(kind[at].name, child.type) for at, child in zip(kept, children, strict=True)]
        return pa.StructArray.from_arrays(children, fields=fields, mask=column.is_null())
    if pa.types.is_list(kind):
        if pa.types.is_null(kind.value_type):
            return column.cast(pa.list_(pa.string()))
        if pa.types.is_nested(kind.value_type):
            return pa.ListArray.from_arrays(
                column.offsets, _with_values(column.values), mask=column.is_null()
            )
    return column


def stays_exact(kind: pa.DataType, structure: Structure) -> bool:
    """Whether values of the type can still become what the structure holds now, as if read again.

    They cannot where it is text by now: a document has that as JSON writes it.
    """
    plain = structure.plain_type()
    if pa.types.is_struct(kind):
        return plain == "STRUCT" and all(
            stays_exact(field.type, structure.members[field.name]) for field in kind
        )
    if pa.types.is_list(kind):
        item = kind.value_type
        return plain == "LIST" and (
            pa.types.is_null(item) or structure.items is None or stays_exact_item(item, structure.items)
        )
    if pa.types.is_int64(kind):
        return plain in ("BIGINT", "DOUBLE", "HUGEINT")
    if pa.types.is_float64(kind):
        return plain == "DOUBLE"
    if pa.types.is_boolean(kind):
        return plain == "BOOLEAN"
    return plain == "VARCHAR" and not structure.is_mixed


def stays_exact_item(kind: pa.DataType, items: Structure) -> bool:
    """The same for items; a list of text may be one that held nulls alone."""
    return (pa.types.is_string(kind) and not items.plain_type()) or stays_exact(kind, items)


def converted(value: str, kind: pa.DataType, structure: Structure) -> str:
    """SQL of a column of the type as the engine's type of the structure, which `stays_exact`."""
    plain = structure.plain_type()
    if is_same(kind, structure):
        return value
    if pa.types.is_struct(kind):
        known = {field.name: field.type for field in kind}
        fields = []
        for key, member in structure.members.items():
            if not member.plain_type():
                continue
            inner = f"struct_extract({value}, {quote_text(key)})"
            sql = converted(inner, known[key], member) if key in known else f"NULL::{sql_type(member)}"
            fields.append(f"{quote_ident(key)} := {sql}")
        return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({', '.join(fields)}) END"
    if pa.types.is_list(kind):
        item = kind.value_type
        if structure.items is None or not pa.types.is_nested(item):
            return f"CAST({value} AS {sql_type(structure)})"
        name = f"x{value.count('lambda') + len(value)}"  # lambdas within lambdas have other names
        return f"list_transform({value}, lambda {name}: {converted(name, item, structure.items)})"
    return f"CAST({value} AS {plain})"


def is_same(kind: pa.DataType, structure: Structure) -> bool:
    """Whether a column of the type is what the structure holds, as it stands."""
    if pa.types.is_struct(kind):
        kept = [key for key, member in structure.members.items() if member.plain_type()]
        return [field.name for field in kind] == kept and all(
            is_same(field.type, structure.members[field.name]) for field in kind
        )
    if pa.types.is_list(kind):
        items = structure.items
        if items is None or not items.plain_type():
            return bool(pa.types.is_string(kind.value_type))
        return is_same(kind.value_type, items)
    return bool(_SAME.get(structure.plain_type()) == kind)


_SAME: Final = {
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "VARCHAR": pa.string(),
}


def sql_type(structure: Structure) -> str:
    """The engine's type of a structure, as `from_json` gives it."""
    plain = structure.plain_type()
    if plain == "STRUCT":
        members = structure.members.items()
        fields = [f"{quote_ident(key)} {sql_type(member)}" for key, member in members if member.plain_type()]
        return f"STRUCT({', '.join(fields)})"
    if plain == "LIST":
        item = sql_type(structure.items) if structure.items is not None else ""
        return f"{item or 'VARCHAR'}[]"
    return plain
