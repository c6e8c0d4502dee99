"""Columns as Arrow has them: one type for several files, and values that become it without loss.

What Parquet and Arrow files have in common. Nothing here reads a file.
"""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.errors import JobError
from metaferry.tables.model import folded
from metaferry.tables.staging import check_width, used_columns

if TYPE_CHECKING:
    import duckdb


def common_schema(
    schemas: Sequence[tuple[str, pa.Schema]], used: frozenset[str] | None, place: str
) -> pa.Schema:
    """The used columns of files, by URL and schema, each of the type that holds what all of them have.

    Raises JobError for files that disagree.
    """
    fields: dict[str, pa.DataType] = {}
    names: dict[str, str] = {}  # as the first file that has them spells them
    for url, schema in schemas:
        for own in used_columns(schema.names, used, url, place):
            kind = _plain(schema.field(own).type)
            name = names.setdefault(folded(own), own)
            if name not in fields:
                fields[name] = kind
                check_width(len(fields), url, place)
                continue
            try:
                merged = pa.unify_schemas(
                    [pa.schema([("x", fields[name])]), pa.schema([("x", kind)])], promote_options="permissive"
                )
            except pa.ArrowException:
                raise JobError(
                    f"the column {name} is {kind} in {url} and {fields[name]} in files before it",
                    place=place,
                    advice="write the files with one type for it, or make them two sources",
                ) from None
            fields[name] = merged.field("x").type
    return pa.schema(list(fields.items()))


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without its encoding: a dictionary of text is text."""
    if isinstance(kind, pa.BaseExtensionType):
        # Two that the engine knows, as what they are; all others are what they are stored as.
        known = {"arrow.uuid": kind, "arrow.bool8": pa.bool_()}
        return known.get(kind.extension_name) or _plain(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")  # an instant is the same in every zone
    if pa.types.is_float16(kind):
        return pa.float64()
    if _has_halves(kind):  # the engine knows none, wherever they are
        if pa.types.is_struct(kind):
            return pa.struct([(field.name, _plain(field.type)) for field in kind])
        return pa.list_(_plain(kind.value_type))
    return kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _has_halves(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(_has_halves(field.type) for field in kind)
    return bool(pa.types.is_float16(kind)) or (_is_list(kind) and _has_halves(kind.value_type))


def cast(column: pa.Array, field: pa.Field, url: str, place: str) -> pa.Array:
    """The column as the type of the field, without loss; JobError where that cannot be."""
    if column.type == field.type:
        return column
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.type == field.type:
        return column
    try:
        if _has_halves(column.type):
            return _without_halves(column).cast(field.type)
        if pa.types.is_float32(column.type) and pa.types.is_float64(field.type):
            # By the digits it is printed with: 0.1 stays 0.1.
            return column.cast(pa.string()).cast(field.type)
        return column.cast(field.type)
    except pa.ArrowException as error:
        raise JobError(
            f"{url}: the column {field.name} is {column.type} and does not fit {field.type}, which "
            f"other files need: {error}",
            place=place,
            advice="write the files with one type for it, or make them two sources",
        ) from None


def _without_halves(column: pa.Array) -> pa.Array:
    """The same values with doubles for half floats, in lists and structs too."""
    kind = column.type
    if pa.types.is_float16(kind):
        return halves(column)
    if pa.types.is_struct(kind):
        fields = [_without_halves(each) for each in column.flatten()]
        return pa.StructArray.from_arrays(fields, [field.name for field in kind], mask=column.is_null())
    if _is_list(kind):
        ends = pc.cumulative_sum(pc.fill_null(pc.list_value_length(column), 0).cast(pa.int32()))
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
        values = _without_halves(column.flatten())
        return pa.ListArray.from_arrays(offsets, values, mask=column.is_null())
    return column


def halves(column: pa.Array) -> pa.Array:
    """Half floats as doubles, by the fewest digits that tell them apart: 0.1 stays 0.1."""
    found = column.cast(pa.float32()).dictionary_encode()
    digits = [None if value is None else _fewest(value) for value in found.dictionary.to_pylist()]
    return pa.array(digits, pa.float64()).take(found.indices)


def _fewest(value: float) -> float:
    if not math.isfinite(value):
        return value
    candidates = (float(f"{value:.{digits}g}") for digits in range(1, 6))
    return next((short for short in candidates if _half(short) == value), value)


def _half(value: float) -> float | None:
    try:
        (rounded,) = struct.unpack("e", struct.pack("e", value))
    except OverflowError:
        return None
    return float(rounded)


def check_values(column: pa.Array, field: pa.Field, url: str, row: int, place: str) -> None:
    """Neither the format nor the engine looks whether text is UTF-8; a document has to be.

    And of values that the engine has no place for (a time after the year 294247, a map with a key twice) it
    says neither column nor row, and takes nothing after some of them.
    """
    try:
        column.validate(full=True)
        _check_range(column)
    except pa.ArrowInvalid:
        for position in range(len(column)):
            one = column.take([position])  # a slice keeps its neighbours
            try:
                one.validate(full=True)
            except pa.ArrowInvalid as error:
                raise JobError(
                    f"{url}: the column {field.name} is damaged in row {row + position}: {error}",
                    place=place,
                    advice="write the file again; bytes that are no UTF-8 text cannot be a string",
                ) from None
            try:
                _check_range(one)
            except pa.ArrowInvalid as error:
                raise JobError(
                    f"{url}: the column {field.name} ({field.type}) cannot be used, "
                    f"for row {row + position}: {first_line(error)}",
                    place=place,
                    advice="mend that row, or map the columns that are wanted in metadata:, and leave "
                    "this one out",
                ) from None
        raise


def _check_range(column: pa.Array) -> None:
    """Raises ArrowInvalid for a value that its type allows and the engine has no place for."""
    kind = column.type
    if pa.types.is_struct(kind):
        for inner in column.flatten():
            _check_range(inner)
    elif pa.types.is_map(kind):
        offsets = column.offsets
        first, last = offsets[0].as_py(), offsets[-1].as_py()
        keys = column.keys.slice(first, last - first)
        parents = pc.list_parent_indices(pa.ListArray.from_arrays(pc.subtract(offsets, first), keys))
        try:
            pairs = pa.table({"map": parents, "key": keys}).group_by(["map", "key"]).aggregate([])
        except pa.ArrowNotImplementedError as error:  # nobody can tell whether a list stands there twice
            raise pa.ArrowInvalid(f"the keys of a map cannot be compared: {error}") from None
        if pairs.num_rows < len(keys):
            raise pa.ArrowInvalid("a key stands twice in one map")
        _check_range(column.items.slice(first, last - first))
    elif _is_list(kind):
        _check_range(column.flatten())
    elif pa.types.is_timestamp(kind) and kind.unit in ("s", "ms"):
        column.cast(pa.timestamp("us", kind.tz))
    elif pa.types.is_duration(kind) and kind.unit in ("s", "ms"):
        column.cast(pa.duration("us"))


@contextlib.contextmanager
def engine_errors(con: duckdb.DuckDBPyConnection, schema: pa.Schema, url: str, place: str) -> Iterator[None]:
    """Names the column whose type the engine does not know."""
    import duckdb

    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        for field in schema:
            try:
                con.from_arrow(pa.schema([field]).empty_table()).fetchall()
            except (duckdb.Error, pa.ArrowException):
                raise JobError(
                    f"{url}: the column {field.name} is {field.type}, which cannot be used",
                    place=place,
                    advice="map the columns that are wanted in metadata:, and leave this one out",
                ) from error
        raise


def first_line(error: Exception) -> str:
    """What an error says, without what follows."""
    return str(error).strip().split("\n", 1)[0]
