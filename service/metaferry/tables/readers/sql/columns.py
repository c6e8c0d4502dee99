"""Columns as drivers give them, as columns that the engine takes; and those that it cannot take, by name.

Pure functions. A column that is refused is refused where a job uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.tables.model import folded

#: Added to the modifier of PostgreSQL's numeric(p, s), which is p * 2^16 + s.
_TYPMOD: Final = 4
MAX_DIGITS: Final = 38

#: PostgreSQL's types that a driver gives as something else than they are, and what to write in their place.
_MISLEADING: Final = {
    "money": "::numeric",  # as whole cents
    "oid": "::bigint",  # as signed numbers
}
#: Days and microseconds before which PostgreSQL has no dates: infinities overflow into what is below.
_FIRST_DAY: Final = -2_440_589
_FIRST_MICROSECOND: Final = _FIRST_DAY * 86_400_000_000


@dataclass(frozen=True, slots=True)
class SqlColumn:
    """A column of a result.

    `type` is what it has in the engine; `decimal` says that it is the text of decimals of which nothing
    says how many digits they have. `refused` says why it cannot be used, and `instead` what to write in the
    query.
    """

    name: str
    type: pa.DataType
    called: str
    decimal: bool = False
    refused: bool = False
    instead: str = ""
    #: Whether it is PostgreSQL's, where dates may be infinite.
    is_postgresql: bool = False


def example_of(columns: Sequence[SqlColumn], table: str) -> str:
    """A query to start from, over a table of the job with these columns, of which it names a few."""
    named = {folded(each.name) for each in columns}
    name = "file_name" if "file_name" in named else f"{columns[0].name} AS file_name"
    others = [each.name for each in columns if folded(each.name) != "file_name" and not each.refused]
    return f"SELECT {', '.join([name, *others[:3]])} FROM {table}"


def column_of(field: pa.Field) -> SqlColumn:
    """The column of a field that a driver of ADBC gives."""
    metadata = field.metadata or {}
    called = metadata.get(b"POSTGRESQL:type", b"").decode()
    postgresql = bool(called)
    instead = _MISLEADING.get(called, "")
    if instead:
        return SqlColumn(field.name, pa.string(), called, refused=True, instead=instead)
    if _type_name(field.type) == "numeric":
        modifier = int(metadata.get(b"POSTGRESQL:typmod", b"-1"))
        digits, scale = _digits(modifier)
        if 0 < digits <= MAX_DIGITS and 0 <= scale <= digits:
            return SqlColumn(field.name, pa.decimal128(digits, scale), called, is_postgresql=True)
        return SqlColumn(field.name, pa.string(), called, decimal=True)
    kind = _plain(field.type)
    if kind is None:
        return SqlColumn(
            field.name,
            pa.string(),
            called or str(field.type),
            refused=True,
            instead="::text" if postgresql else "",
        )
    return SqlColumn(field.name, kind, called or str(kind), is_postgresql=postgresql)


def values_of(column: SqlColumn, given: pa.Array) -> tuple[pa.Array, dict[int, str]]:
    """The values as the engine takes them, and what stands in the positions of those that have no value of
    the type: they are null."""
    if given.type == column.type:
        return (given, {}) if not column.is_postgresql else _finite(given)
    if isinstance(given.type, pa.BaseExtensionType):
        given = given.storage
    if pa.types.is_decimal(column.type):
        return _decimals(column, given)
    if pa.types.is_dictionary(given.type):
        given = given.dictionary_decode()
    return given.cast(column.type), {}


def _decimals(column: SqlColumn, texts: pa.Array) -> tuple[pa.Array, dict[int, str]]:
    """Texts with at most as many digits as the type has; NaN and the infinities are left."""
    if pa.types.is_decimal(texts.type):
        return texts.cast(column.type), {}
    odd = pc.is_in(texts, value_set=pa.array(["nan", "NaN", "inf", "-inf", "Infinity", "-Infinity"]))
    if pc.any(odd).as_py():
        bad = {at: str(texts[at]) for at in pc.indices_nonzero(odd).to_pylist()}
        texts = pc.if_else(odd, pa.scalar(None, texts.type), texts)
        return texts.cast(column.type), bad
    return texts.cast(column.type), {}


def _finite(values: pa.Array) -> tuple[pa.Array, dict[int, str]]:
    """Dates and timestamps without the infinite ones; anything else as it is."""
    if not (pa.types.is_date32(values.type) or pa.types.is_timestamp(values.type)):
        return values, {}
    first = _FIRST_DAY if pa.types.is_date32(values.type) else _FIRST_MICROSECOND
    numbers = values.view(pa.int32() if pa.types.is_date32(values.type) else pa.int64())
    odd = pc.less(numbers, first)
    if not pc.any(odd).as_py():
        return values, {}
    bad = {}
    for at in pc.indices_nonzero(odd).to_pylist():
        # Both overflow; the one that follows upon the other is the lower one before.
        lowest = numbers[at].as_py() == _LOWEST[values.type.bit_width]
        bad[at] = "-infinity" if lowest else "infinity"
    return pc.if_else(odd, pa.scalar(None, values.type), values), bad


#: What the least number of so many bits becomes, of days and of microseconds since 2000 counted from 1970.
_LOWEST: Final = {32: -(2**31) + 10_957, 64: -(2**63) + 946_684_800_000_000}


def _digits(modifier: int) -> tuple[int, int]:
    """Precision and scale of a modifier; (0, 0) where it says neither."""
    if modifier < _TYPMOD:
        return 0, 0
    given = modifier - _TYPMOD
    scale = given & 0x7FF
    # Eleven bits with a sign: numeric(5, -2) rounds to hundreds.
    return given >> 16, scale - 2048 if scale >= 1024 else scale


def _type_name(kind: pa.DataType) -> str:
    """The database's name of a type that Arrow does not have."""
    return str(getattr(kind, "type_name", "")) if _is_opaque(kind) else ""


def _is_opaque(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.opaque"


def _plain(kind: pa.DataType) -> pa.DataType | None:
    """The type that the engine has of it; None for what only the database understands."""
    if _is_opaque(kind):
        return None
    if isinstance(kind, pa.BaseExtensionType):
        return kind if kind.extension_name == "arrow.uuid" else _plain(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_float16(kind):
        return pa.float64()
    if pa.types.is_struct(kind):
        fields = [(kind.field(at).name, _plain(kind.field(at).type)) for at in range(kind.num_fields)]
        if any(inner is None for _, inner in fields):
            return None
        return pa.struct(fields)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _plain(kind.value_type)
        return None if inner is None else pa.list_(inner)
    if pa.types.is_decimal256(kind):
        return None
    return kind
