"""One document of a tree, held to what its name says and to the schema entries: its metadata, or its fault.

Pure. A consumer stops at one invalid document, so whatever it might stop at is a fault here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from metaferry.lightly.json_text import quoted, read_json
from metaferry.lightly.key_paths import join_path
from metaferry.lightly.nested import Steps, unfit_places
from metaferry.lightly.schema import ValueType, expected

#: Bytes of a document beyond which a fault of its text has no place.
_PLACED: Final = 1_000_000
#: Text that may hold a number beyond a float's range, or half a character: the value is then looked at.
_SUSPECT: Final = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{300}|\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a document. Line and column count from 1; 0 where there is none."""

    line: int
    column: int
    message: str


def read_document(
    data: bytes, *, file_name: str | None, kind: str | None, types: Mapping[Steps, ValueType]
) -> tuple[dict[str, Any], Fault | None]:
    """The metadata of a document, and its first fault; `{}` where there is one.

    `file_name` and `kind` are what its name says, None where that is not known; a document may lack both.
    `types` are those of the schema entries, by key path.
    """
    try:
        document = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError):
        faults = read_json(data)[1] if len(data) <= _PLACED else []
        first = (faults[0].line, faults[0].column, faults[0].message) if faults else (0, 0, "it is not JSON")
        return {}, Fault(*first)
    if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
        return {}, Fault(1, 1, 'a document is an object with an object "metadata", and this is none')
    for key, right in (("file_name", file_name), ("type", kind)):
        found = document.get(key)
        if found is not None and right is not None and found != right:
            shown = quoted(found) if isinstance(found, str) else json.dumps(found)[:80]
            return {}, Fault(0, 0, f"{key} is {shown}, and by its name this is {quoted(right)}")
    metadata = document["metadata"]
    if _SUSPECT.search(data):
        message = next(_unstorable(metadata), "")
        if message:
            return {}, Fault(0, 0, message)
    for steps, value in unfit_places(metadata, types).items():
        text = json.dumps(value, ensure_ascii=False)
        text = text if len(text) <= 60 else f"{text[:57]}…"
        kind_of = types[steps]
        return {}, Fault(
            0, 0, f"{join_path(steps)} is {text}, and by its entry it is {kind_of}: {expected(kind_of)}"
        )
    return metadata, None


def _refuse(word: str) -> None:
    raise ValueError(word)


def _unstorable(value: Any) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield "a number is beyond the range of a float"
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            yield "an escape of half a character (a lone surrogate)"
    elif isinstance(value, list):
        for item in value:
            yield from _unstorable(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unstorable(key)
            yield from _unstorable(item)
