"""Numbers and positions of recordings as columns hold them, out of their text. Pure functions.

A number that is empty, NaN or infinite is one that the device did not know: null. Text that is no number is
`Bad`.
"""

from __future__ import annotations

import math
import re
from typing import Final

from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import shown

#: Python takes `1_000` and digits of every script, which no device writes.
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_UNKNOWN: Final = frozenset({"", "nan", "inf", "infinity", "null", "none"})


def number_in(text: str, key: str) -> float | None:
    """A finite number; None for what the device did not know. Raises Bad."""
    text = text.strip()
    if text.lower().lstrip("+-") in _UNKNOWN:
        return None
    if len(text) > 400 or _NUMBER.fullmatch(text) is None:
        raise Bad(f"{key} is {shown(text)}, and no number", key, text, "a number")
    found = float(text)
    return found if math.isfinite(found) else None


def whole_in(text: str, key: str) -> int | None:
    """A whole number of 32 bits, also one that is written as 8.0. Raises Bad."""
    found = number_in(text, key)
    if found is None:
        return None
    if not found.is_integer() or abs(found) >= 2**31:
        raise Bad(f"{key} is {shown(text)}, and no whole number", key, text, "a whole number")
    return int(found)


def check_position(lat: float, lon: float) -> None:
    """Raises Bad for degrees that are none."""
    if abs(lat) > 90:
        swapped = "; lat and lon look swapped" if abs(lat) <= 180 and abs(lon) <= 90 else ""
        raise Bad(f"lat is {lat:g}, beyond 90 degrees{swapped}", "lat", f"{lat:g}", "-90 to 90")
    if abs(lon) > 180:
        raise Bad(f"lon is {lon:g}, beyond 180 degrees", "lon", f"{lon:g}", "-180 to 180")


def is_nowhere(lat: float | None, lon: float | None) -> bool:
    """Whether it is the place in the Gulf of Guinea that devices write while they know no position."""
    return lat == 0 and lon == 0
