"""The directories of a TIFF or an Exif block: which of the wanted tags are there, with their values.

Values are cut to what is looked at, directories are bounded and never followed in circles, so that no block
costs more than it is long. TIFF 6.0 and BigTIFF; in a TIFF, they may be anywhere in the file.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from metaferry.media.facts.images.window import Damaged, Window
from metaferry.media.frames.containers.reading import Asking

TIFF_HEADERS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

#: Entries of one directory, and values of one entry that are looked at, at most.
_MAX_ENTRIES: Final = 1_024
_MAX_VALUES: Final = 16
#: Bytes of a text that are looked at; a longer one is none of those that are wanted.
_MAX_TEXT: Final = 4 << 10
#: The type of a value by its number: its format for `struct`, and its bytes. 2 and 129 are text, 7 anything.
_TYPES: Final[Mapping[int, tuple[str, int]]] = {
    1: ("B", 1),
    3: ("H", 2),
    4: ("I", 4),
    5: ("II", 8),
    6: ("b", 1),
    8: ("h", 2),
    9: ("i", 4),
    10: ("ii", 8),
    11: ("f", 4),
    12: ("d", 8),
    13: ("I", 4),
    16: ("Q", 8),
    17: ("q", 8),
    18: ("Q", 8),
}
_TEXTS: Final = frozenset({2, 7, 129})
_RATIONALS: Final = frozenset({5, 10})

EXIF_IFD: Final = 0x8769
GPS_IFD: Final = 0x8825
SUB_IFDS: Final = 0x014A
XMP: Final = 0x02BC
WIDTH, HEIGHT, SUBFILE = 0x0100, 0x0101, 0x00FE

#: The tags that are looked at, by directory (Exif 3.0, chapter 4.6).
_MAIN_TAGS: Final = frozenset(
    {WIDTH, HEIGHT, SUBFILE, SUB_IFDS, XMP, EXIF_IFD, GPS_IFD, 0x010F, 0x0110, 0x0112}
)
_EXIF_TAGS: Final = frozenset(
    {0x829A, 0x829D, 0x8827, 0x8832, 0x9003, 0x9011, 0x9291, 0x920A, 0xA405, 0xA433, 0xA434}
)
_GPS_TAGS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 29})
_SIZE_TAGS: Final = frozenset({WIDTH, HEIGHT, SUBFILE})
#: Directories with reduced images that are looked into for the one with all pixels, at most.
_MAX_SUB_IFDS: Final = 4

#: A number, a rational as (numerator, denominator), or for a text its bytes up to the first NUL.
Value: TypeAlias = "tuple[Any, ...] | bytes"


@dataclass(slots=True)
class Ifds:
    """The wanted tags of the main, the Exif and the GPS directory."""

    main: dict[int, Value] = field(default_factory=dict)
    exif: dict[int, Value] = field(default_factory=dict)
    gps: dict[int, Value] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How numbers are written: byte order, and the longer fields of BigTIFF."""

    order: Literal["<", ">"]
    big: bool

    def numbers(self, format: str, data: bytes) -> tuple[Any, ...]:
        return struct.unpack(self.order + format, data)


def read_ifds(window: Window) -> Asking[Ifds]:
    """What a TIFF, or the block that a window holds, says. Raises `Damaged` where it has no directory."""
    head = yield from window.get(0, 8, "the TIFF header")
    if not head.startswith(TIFF_HEADERS):
        raise Damaged("it has no TIFF header")
    layout = _Layout("<" if head.startswith(b"II") else ">", head[2:4] in (b"+\0", b"\0+"))
    if layout.big:
        sizes = layout.numbers("HHQ", (yield from window.get(4, 12, "the TIFF header")))
        if sizes[:2] != (8, 0):
            raise Damaged("its header is no BigTIFF header")
        at = sizes[2]
    else:
        (at,) = layout.numbers("I", head[4:])
    found = Ifds()
    found.main = yield from _directory(window, layout, at, _MAIN_TAGS, "directory", found.problems)
    seen = {at}
    for tag, tags, name in ((EXIF_IFD, _EXIF_TAGS, "Exif directory"), (GPS_IFD, _GPS_TAGS, "GPS directory")):
        offset = whole(found.main.get(tag))
        if offset is None or offset in seen:
            continue
        seen.add(offset)
        try:
            inner = yield from _directory(window, layout, offset, tags, name, found.problems)
        except Damaged as error:
            found.problems.append(str(error))
            continue
        if tag == EXIF_IFD:
            found.exif = inner
        else:
            found.gps = inner
    yield from _whole_image(window, layout, found)
    return found


def whole(value: Value | None) -> int | None:
    """The only, or the first, whole number of a value; None where it is none."""
    if isinstance(value, tuple) and value and isinstance(value[0], int):
        return value[0]
    return None


def _whole_image(window: Window, layout: _Layout, found: Ifds) -> Asking[None]:
    """The size of the image with all pixels, where the main directory has a reduced one (TIFF/EP, DNG)."""
    if not (whole(found.main.get(SUBFILE)) or 0) & 1:
        return
    offsets = found.main.get(SUB_IFDS, ())
    for offset in offsets[:_MAX_SUB_IFDS] if isinstance(offsets, tuple) else ():
        if not isinstance(offset, int):
            continue
        inner = yield from _directory(window, layout, offset, _SIZE_TAGS, "directory", found.problems)
        if not (whole(inner.get(SUBFILE)) or 0) & 1:
            found.main |= inner
            return


def _directory(
    window: Window, layout: _Layout, at: int, tags: frozenset[int], name: str, problems: list[str]
) -> Asking[dict[int, Value]]:
    """The wanted tags of one directory. An entry that cannot be read is a problem, and is left out."""
    count_bytes, entry_bytes = (8, 20) if layout.big else (2, 12)
    data = yield from window.get(at, count_bytes, f"its {name}")
    (count,) = layout.numbers("Q" if layout.big else "H", data)
    if count > _MAX_ENTRIES:
        raise Damaged(f"its {name} claims {count:,} entries")
    start = at + count_bytes
    there = min(count, max(0, window.size - start) // entry_bytes)
    if there < count:
        problems.append(f"the file ends within its {name}")
    data = yield from window.get(start, there * entry_bytes, f"its {name}")
    found: dict[int, Value] = {}
    for first in range(0, len(data), entry_bytes):
        entry = data[first : first + entry_bytes]
        tag, kind, number = layout.numbers("HHQ" if layout.big else "HHI", entry[: 12 if layout.big else 8])
        if tag not in tags or tag in found:
            continue
        inline = entry[12:] if layout.big else entry[8:]
        try:
            value = yield from _value(window, layout, tag, kind, number, inline)
        except Damaged as error:
            problems.append(str(error))
            continue
        if value is not None:
            found[tag] = value
    return found


def _value(
    window: Window, layout: _Layout, tag: int, kind: int, number: int, inline: bytes
) -> Asking[Value | None]:
    """The value of an entry; None for a type that means nothing here, and for none at all."""
    if kind in _TEXTS or (tag == XMP and kind == 1):
        size, taken = number, number if tag == XMP else min(number, _MAX_TEXT)
    elif kind in _TYPES:
        _, unit = _TYPES[kind]
        size, taken = number * unit, min(number, _MAX_VALUES) * unit
    else:
        return None
    if not taken:
        return None
    if size <= len(inline):
        data = inline[:taken]
    else:
        (offset,) = layout.numbers("Q" if layout.big else "I", inline)
        data = yield from window.get(offset, taken, f"the value of tag {tag:#06x}")
    if kind in _TEXTS or tag == XMP:
        return data if tag == XMP else data.partition(b"\0")[0]
    format, unit = _TYPES[kind]
    values = layout.numbers(format * (taken // unit), data)
    if kind in _RATIONALS:
        return tuple(zip(values[::2], values[1::2], strict=True))
    return values
