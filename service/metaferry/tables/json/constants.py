"""NaN and Infinity in a line of JSON: no JSON at all, but what many programs write for a missing number.

They are read as null, which is what a document can hold of them, and each is named. Pure functions.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

#: Told first, since nearly all lines have none.
MARKS: Final = (b"NaN", b"Infinity")

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|-?Infinity|NaN')


class _Constant(str):
    """NaN, Infinity or -Infinity where it stood."""

    __slots__ = ()


def without_constants(line: str) -> tuple[str, list[tuple[tuple[str | int, ...], str]]]:
    """The line with null in place of each constant, and (steps to it, constant) in the order of the line.

    A line that is not valid otherwise is answered as it is: whoever parses it says what is wrong.
    """
    try:
        value = json.loads(line, parse_constant=_Constant)
    except (ValueError, RecursionError):
        return line, []
    found: list[tuple[tuple[str | int, ...], str]] = []
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        steps, value = waiting.pop()
        if type(value) is _Constant:
            found.append((steps, str(value)))
        elif type(value) is dict:
            waiting.extend(((*steps, key), item) for key, item in reversed(value.items()))
        elif type(value) is list:
            waiting.extend(((*steps, at), value[at]) for at in range(len(value) - 1, -1, -1))
    return _TOKEN.sub(lambda token: token[0] if token[0].startswith('"') else "null", line), found


def left_out(steps: tuple[str | int, ...], constant: str) -> str:
    """What a finding says of a constant: which, where, and what the document has instead."""
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    place = "the list has null there" if isinstance(steps[-1], int) else "the key is left out"
    return f"{path} is {constant}, which JSON cannot hold: {place}"
