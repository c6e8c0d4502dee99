"""Bytes of ROS messages as values: CDR of ROS 2 (OMG CDR, as XCDR 1), and what ROS 1 writes.

Every length is held to the bytes that are left before anything is made of it.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.telemetry.messages.layouts import Base, Items, Layout, Struct, Text, least
from metaferry.tables.readers.telemetry.messages.limits import (
    LONGEST_TEXT,
    MISSING,
    MOST_ITEMS,
    MOST_LEVELS,
    Budget,
    LeftOut,
    single,
    text_kept,
)

#: The two kinds of encapsulation that ROS 2 writes: plain CDR, by the order of its bytes.
_ORDERS: Final = {b"\x00\x00": ">", b"\x00\x01": "<"}


def cdr_message(data: bytes, layout: Struct, left_out: LeftOut) -> dict[str, Any]:
    """A message of ROS 2. Raises Bad."""
    order = _ORDERS.get(data[:2])
    if order is None or len(data) < 4:
        raise Bad(f"it begins with {data[:4].hex()}, which is no plain CDR")
    return _Walk(data, 4, order, is_aligned=True, left_out=left_out).message(layout)


def ros1_message(data: bytes, layout: Struct, left_out: LeftOut) -> dict[str, Any]:
    """A message of ROS 1. Raises Bad."""
    return _Walk(data, 0, "<", is_aligned=False, left_out=left_out).message(layout)


class _Walk:
    def __init__(self, data: bytes, start: int, order: str, *, is_aligned: bool, left_out: LeftOut) -> None:
        self._data = data
        self._start = self._at = start
        self._order = order
        self._is_aligned = is_aligned
        self._budget = Budget(left_out)

    def message(self, layout: Struct) -> dict[str, Any]:
        if layout.least > len(self._data) - self._at:
            raise Bad("the message ends before its last field")
        return self._struct(layout, "", 0, keep=True)

    def _struct(self, layout: Struct, path: str, level: int, *, keep: bool) -> dict[str, Any]:
        if level > MOST_LEVELS:
            raise Bad(f"it has more than {MOST_LEVELS} levels")
        found: dict[str, Any] = {}
        if not layout.least:
            return found  # says nothing, however many it holds
        for name, kind in layout.fields:
            value = self._value(kind, f"{path}.{name}" if path else name, level, keep=keep)
            if value is not MISSING:
                found[name] = value
        return found

    def _value(self, layout: Layout, path: str, level: int, *, keep: bool) -> Any:
        match layout:
            case Base():
                return self._base(layout, path, keep=keep)
            case Text():
                return self._text(layout, path, keep=keep)
            case Items():
                return self._items(layout, path, level, keep=keep)
            case Struct():
                return self._struct(layout, path, level + 1, keep=keep)

    def _base(self, layout: Base, path: str, *, keep: bool) -> Any:
        start = self._take(layout.size, layout.size)
        if not keep or not self._budget.take(path):
            return MISSING
        (value,) = struct.unpack_from(self._order + layout.code, self._data, start)
        if layout.kind == "bool":
            return bool(value)
        if layout.kind == "single":
            return single(value)
        if layout.kind == "double" and not -1.7976931348623157e308 <= value <= 1.7976931348623157e308:
            return MISSING
        return value

    def _text(self, layout: Text, path: str, *, keep: bool) -> Any:
        size = self._count() * (2 if layout.wide else 1)
        start = self._take(size, 1)
        if not keep or not self._budget.take(path):
            return MISSING
        if size > 4 * LONGEST_TEXT:
            self._budget.left_out.add(path)
            return MISSING
        raw = self._data[start : start + size]
        try:
            if layout.wide:
                text = raw.decode("utf-16-le" if self._order == "<" else "utf-16-be").rstrip("\0")
            else:
                text = (raw.removesuffix(b"\0") if self._is_aligned else raw).decode()
        except UnicodeDecodeError:
            return MISSING
        return text_kept(text, self._budget, path)

    def _items(self, layout: Items, path: str, level: int, *, keep: bool) -> Any:
        count = self._count() if layout.count is None else layout.count
        item, smallest = layout.item, least(layout.item)
        if count * smallest > len(self._data) - self._at:
            raise Bad(f"{path} has {count:,} items, and the message ends before them")
        if count > MOST_ITEMS:
            self._budget.left_out.add(path)
            keep = False
        if isinstance(item, Base):
            if not keep:
                if count:
                    self._take(item.size * count, item.size)
                return MISSING
        elif not smallest:
            return MISSING  # items without bytes say nothing
        elif not keep:
            for _ in range(count):
                self._value(item, path, level, keep=False)
            return MISSING
        items = (self._value(item, path, level, keep=True) for _ in range(count))
        return [None if value is MISSING else value for value in items]

    def _count(self) -> int:
        start = self._take(4, 4)
        (count,) = struct.unpack_from(self._order + "I", self._data, start)
        return int(count)

    def _take(self, size: int, alignment: int) -> int:
        """Where the next `size` bytes begin; they are passed. Raises Bad where they are not there."""
        at = self._at
        if self._is_aligned and alignment > 1:
            at += -(at - self._start) % alignment
        if at + size > len(self._data):
            raise Bad("the message ends before its last field")
        self._at = at + size
        return at
