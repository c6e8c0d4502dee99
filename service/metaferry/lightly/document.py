"""The bytes of a document, in one canonical form, so that equal documents have equal MD5s.

The same file name, kind and metadata give the same bytes on every machine and in every version: no white
space; keys in the order `file_name, type, metadata`, and by code point inside `metadata` at every level;
UTF-8 with only the necessary escapes; floats in the shortest form that reads back equal; nothing that
JSON cannot hold. Nothing here decides which values a document has. `planning/sql/rules.py` builds the same
bytes in the planning engine and is held equal by tests.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from metaferry.lightly.names import Kind

_SHORT: Final = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}

#: The escapes that JSON requires, and no others. The backslash comes first, so that replacing one
#: character after the other is correct too.
ESCAPES: Final[Mapping[str, str]] = MappingProxyType(
    {"\\": "\\\\", '"': '\\"'} | {chr(code): _SHORT.get(code, f"\\u{code:04x}") for code in range(0x20)}
)


def document(file_name: str, kind: Kind, metadata: Mapping[str, Any]) -> bytes:
    """The canonical bytes of one document, without a trailing newline.

    Values: None, bool, int, float, str, lists and mappings of them; dates, times, UUIDs and
    decimals as :func:`plain` has them. None, NaN and Infinity are left out of objects, and so are
    objects that become empty by it (`metadata` itself stays `{}`); inside lists they are null.
    TypeError for any other type, ValueError for text that is not valid Unicode.
    """
    members = _members(metadata)
    text = (
        f'{{"file_name":{json_string(file_name)},"type":"{Kind(kind)}","metadata":{{{",".join(members)}}}}}'
    )
    return text.encode()


def json_string(text: str) -> str:
    """A JSON string literal, with its quotes."""
    return f'"{text.translate(_TRANSLATION)}"'


def json_number(value: int | float) -> str | None:
    """An integer in digits, a float in the shortest form that reads back equal; None if it is not finite."""
    if isinstance(value, int):
        return str(int(value))
    # float's own repr: a subclass (numpy.float64) prints itself differently.
    return float.__repr__(value) if math.isfinite(value) else None


def json_text(value: object) -> str | None:
    """The text of a value of `metadata`, as :func:`document` writes it; None where its key is left out."""
    if isinstance(value, Mapping):
        inner = ",".join(_members(value))
        return f"{{{inner}}}" if inner else None
    return _scalar_or_list(value)


def plain(value: object) -> object:
    """What stands in a document for a value that JSON has no type for.

    Dates and times: ISO 8601, the fraction of a second without trailing zeros; with a time zone,
    the same instant in UTC with a `Z`. UUIDs: text. Decimals: an integer where they have no
    fraction digits by type (exponent 0 or more), else the nearest float. All others: as they are.
    """
    match value:
        case datetime():
            offset = value.utcoffset()
            if offset is None:
                return _iso(value)
            # Not astimezone(): it overflows at the ends of the calendar.
            return _iso(value.replace(tzinfo=None) - offset) + "Z"
        case date():
            return value.isoformat()
        case time():
            return _trimmed(value.replace(tzinfo=None).isoformat()) + _offset(value.utcoffset())
        case UUID():
            return str(value)
        case Decimal():
            exponent = value.as_tuple().exponent
            return int(value) if isinstance(exponent, int) and exponent >= 0 else float(value)
        case _:
            return value


def md5_hex(data: bytes) -> str:
    """MD5 in lower-case hex, to compare with listings; not for security."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


_TRANSLATION: Final = {ord(character): escape for character, escape in ESCAPES.items()}


def _members(mapping: Mapping[str, Any]) -> Iterator[str]:
    """The members of an object in canonical order, those without a value left out."""
    for key in sorted(mapping):
        text = json_text(mapping[key])
        if text is not None:
            yield f"{json_string(key)}:{text}"


def _element(value: object) -> str:
    # A list keeps its positions: nothing is left out of it.
    if isinstance(value, Mapping):
        return f"{{{','.join(_members(value))}}}"
    return _scalar_or_list(value) or "null"


def _scalar_or_list(value: object) -> str | None:
    value = plain(value)
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case int() | float():
            return json_number(value)
        case str():
            return json_string(value)
        case list() | tuple():
            return f"[{','.join(map(_element, value))}]"
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a document")


def _iso(value: datetime) -> str:
    return _trimmed(value.isoformat())


def _trimmed(text: str) -> str:
    return text.rstrip("0") if "." in text else text


def _offset(offset: timedelta | None) -> str:
    if offset is None:
        return ""
    seconds = int(offset.total_seconds())
    sign, seconds = ("-", -seconds) if seconds < 0 else ("+", seconds)
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    text = f"{sign}{hours:02d}:{minutes:02d}"
    return f"{text}:{seconds:02d}" if seconds else text
