"""Values of an annotation file as columns hold them, or `Bad` with the key and what was expected.

Pure functions. None stays None: what a file does not say is null, never a guess.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from metaferry.tables.readers.annotations.text import Bad

_MOST: Final = 2**63
#: Made once: json.dumps makes one for each value, which takes a third of its time.
_JSON: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
#: Characters of a value that a message shows.
_SHOWN: Final = 60
#: A URL up to its query, which may hold a signature, or a token.
_SIGNED: Final = re.compile(r"""(://[^\s?'"]*\?)[^\s'"]*""")


def shown(value: Any) -> str:
    """A value as a message shows it: short, one line whatever it holds, and without what signs a URL."""
    text = _SIGNED.sub(r"\1…", repr(value))
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def text(value: Any, key: str) -> str | None:
    """A text, or a number as the file writes it: ids are both."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Bad(f"{key} is {shown(value)}, and no text")
    found = value if isinstance(value, str) else str(value)
    if not found.isascii():
        check_text(found, key)
    return found


def check_text(found: str, key: str) -> None:
    """Raises Bad for half of a surrogate pair, which is no text in any encoding."""
    try:
        found.encode()
    except UnicodeEncodeError:
        raise Bad(f"{key} holds half of a surrogate pair, which is no character") from None


def integer(value: Any, key: str) -> int | None:
    """A whole number of 64 bits, also one that is written as 3.0."""
    if value is None:
        return None
    whole = value
    if isinstance(value, float) and value.is_integer():
        whole = int(value)
    if isinstance(whole, bool) or not isinstance(whole, int) or not -_MOST <= whole < _MOST:
        raise Bad(f"{key} is {shown(value)}, and no whole number of 64 bits")
    return whole


def index(value: Any, key: str, base: int = 0) -> int | None:
    """The number of a frame as counted from 0, where the file counts from `base`."""
    found = integer(value, key)
    if found is not None and found < base:
        raise Bad(f"{key} is {found}, and frames are counted from {base} here")
    return None if found is None else found - base


def number(value: Any, key: str) -> float | None:
    """A finite number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Bad(f"{key} is {shown(value)}, and no number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise Bad(f"{key} is {shown(value)}, which no double can hold")
    return found


def flag(value: Any) -> bool | None:
    """true or false; None for all else, which then is found among the attributes alone."""
    return value if isinstance(value, bool) else None


def table(value: Any, key: str) -> Mapping[str, Any]:
    """An object; {} for null."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Bad(f"{key} is {shown(value)}, and no object")
    return value


def items(value: Any, key: str) -> list[Any]:
    """A list; [] for null."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Bad(f"{key} is {shown(value)}, and no list")
    return value


def as_json(value: Mapping[str, Any], key: str) -> str | None:
    """An object as JSON text, its keys in the order of the file; None for one without keys."""
    if not value:
        return None
    try:
        found = _JSON.encode(value)
    except ValueError:
        raise Bad(f"{key} holds a number that no double can hold") from None
    if not found.isascii():
        check_text(found, key)
    return found


def path_of(name: str) -> str:
    """The path of a URL, without its host and with %20 as a blank; a name that is no URL as it is."""
    if "://" not in name:
        return name
    try:
        parts = urlsplit(name)
    except ValueError:
        return name
    if parts.scheme in ("http", "https"):
        return unquote(parts.path).lstrip("/") or name
    return name.partition("://")[2].partition("/")[2] or name
