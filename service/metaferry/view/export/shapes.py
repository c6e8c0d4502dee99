"""Which types of columns hold the values of documents exactly, found over all of them.

A `Shape` collects what stands at one place in all documents; its Arrow type is then the one that gives every
value back. Where there is none (text here, an object there), the column has the values as JSON text.
Everything here is bounded: an object with ever new keys becomes a map.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa

from metaferry.lightly.key_paths import column_is_ambiguous

#: Keys of one object beyond which it is a map, and no column for each key.
MOST_KEYS: Final = 1_000

_BOOL, _INT, _FLOAT, _TEXT, _LIST, _OBJECT = (1 << bit for bit in range(6))
_NUMBER: Final = _INT | _FLOAT
_BITS: Final[dict[type, int]] = {bool: _BOOL, float: _FLOAT, str: _TEXT}
_SIMPLE: Final = {0: pa.string(), _TEXT: pa.string(), _BOOL: pa.bool_(), _FLOAT: pa.float64()}
#: Integers that a float holds, and that columns of 64 bits and of 38 digits hold.
_FLOAT_INTEGERS: Final = 2**53
_INT64: Final = (-(2**63), 2**63 - 1)
_DIGITS: Final = 38

#: Makes of a value of a document what Arrow takes for its column.
Convert = Callable[[Any], Any]


class Shape:
    """What was seen at one place. `fields` by key of objects, `items` of lists, `values` of maps.

    `most_keys`: so many keys are told apart.
    """

    __slots__ = ("_most_keys", "bits", "fields", "high", "items", "low", "values")

    def __init__(self, most_keys: int = MOST_KEYS) -> None:
        self._most_keys = most_keys
        self.bits = 0
        self.low = self.high = 0
        self.fields: dict[str, Shape] = {}
        self.items: Shape | None = None
        self.values: Shape | None = None

    def add(self, value: Any) -> None:
        """One value, as `json.loads` gives it."""
        if value is None:
            return
        kind = type(value)
        if kind is int:
            self.bits |= _INT
            if value < self.low:
                self.low = value
            elif value > self.high:
                self.high = value
        elif kind is list:
            self.bits |= _LIST
            if self.items is None:
                self.items = Shape()
            for item in value:
                self.items.add(item)
        elif kind is dict:
            self.bits |= _OBJECT
            for key, item in value.items():
                self._at(key).add(item)
        else:
            self.bits |= _BITS[kind]

    def _at(self, key: str) -> Shape:
        if self.values is not None:
            return self.values
        found = self.fields.get(key)
        if found is None:
            found = self.fields[key] = Shape()
            if len(self.fields) > self._most_keys:
                return self._become_map()
        return found

    def _become_map(self) -> Shape:
        self.values = self._all_values()
        self.fields = {}
        return self.values

    def _merge(self, other: Shape) -> None:
        self.bits |= other.bits
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        if other.items is not None:
            self.items = self.items or Shape()
            self.items._merge(other.items)
        for key, each in other.fields.items():
            self._at(key)._merge(each)
        if other.values is not None:
            self._become_map()._merge(other.values)

    @property
    def is_map(self) -> bool:
        """Whether an object here is a map: its keys are too many, or no names of columns."""
        folded = {key.lower() for key in self.fields}
        return (
            self.values is not None
            or not self.fields
            or len(folded) < len(self.fields)
            or not all(map(is_step, self.fields))
        )

    @property
    def rewrites(self) -> bool:
        """Whether a number reads back in another form: an integer among floats, which becomes one of them."""
        below = [*self.fields.values(), *filter(None, (self.items, self.values))]
        return self.bits == _NUMBER or any(each.rewrites for each in below)

    def leaves(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Shape]]:
        """The columns below `metadata`: objects are followed as long as their keys can be key paths."""
        for key, each in sorted(self.fields.items()):
            if each.bits == _OBJECT and not each.is_map:
                yield from each.leaves((*path, key))
            else:
                yield (*path, key), each

    def type(self) -> pa.DataType | None:
        """The Arrow type that holds every value; None where only JSON text does."""
        if self.bits in _SIMPLE:  # nothing but nulls is text, too
            return _SIMPLE[self.bits]
        if self.bits == _INT:
            return self._integer()
        if self.bits == _NUMBER:
            # A float would lose digits of an integer beyond 2^53.
            exact = self.low >= -_FLOAT_INTEGERS and self.high <= _FLOAT_INTEGERS
            return pa.float64() if exact else None
        if self.bits == _LIST:
            items = self.items.type() if self.items is not None else pa.string()
            return None if items is None else pa.list_(items)
        return self._object() if self.bits == _OBJECT else None

    def _integer(self) -> pa.DataType | None:
        if self.low >= _INT64[0] and self.high <= _INT64[1]:
            return pa.int64()
        return pa.decimal128(_DIGITS, 0) if max(-self.low, self.high) < 10**_DIGITS else None

    def _object(self) -> pa.DataType | None:
        if self.is_map:
            values = self._all_values().type()
            return None if values is None else pa.map_(pa.string(), values)
        fields = []
        for key, each in sorted(self.fields.items()):
            kind = each.type()
            if kind is None:
                return None
            fields.append(pa.field(key, kind))
        return pa.struct(fields)

    def _all_values(self) -> Shape:
        """What stands under any key of a map."""
        if self.values is not None:
            return self.values
        found = Shape()
        for each in self.fields.values():
            found._merge(each)
        return found


def is_step(key: str) -> bool:
    """Whether a key can be a step of a key path, and the name of a field."""
    return bool(key) and not column_is_ambiguous(key) and "\0" not in key


def text_of(value: Any) -> str | None:
    """A value as JSON text, for a column that has no other type."""
    if value is None:
        return None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def converter(kind: pa.DataType) -> Convert | None:
    """What makes values ready for an Arrow type of `Shape.type`; None where they are as they stand."""
    if pa.types.is_float64(kind):
        return _float
    if pa.types.is_decimal(kind):
        return _decimal
    if pa.types.is_list(kind):
        item = converter(kind.value_type)
        return None if item is None else lambda value: None if value is None else [item(x) for x in value]
    if pa.types.is_map(kind):
        under = converter(kind.item_type) or _same
        return lambda value: None if value is None else [(key, under(value[key])) for key in sorted(value)]
    if pa.types.is_struct(kind):
        below = {field.name: converter(field.type) for field in kind}
        if not any(below.values()):
            return None
        return lambda value: (
            None if value is None else {key: (below[key] or _same)(each) for key, each in value.items()}
        )
    return None


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _decimal(value: Any) -> Any:
    from decimal import Decimal

    return None if value is None else Decimal(value)


def _same(value: Any) -> Any:
    return value
