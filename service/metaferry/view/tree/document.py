"""One document of a tree, held to what its name says and to the schema entries: its metadata, or its fault.

Pure. A consumer stops at one invalid document, so whatever it might stop at is a fault here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from metaferry.lightly.json_text import quoted, read_json
from metaferry.lightly.key_paths import join_path
from metaferry.lightly.names import Kind
from metaferry.lightly.nested import EntryTypes, Steps, unfit_places
from metaferry.lightly.schema import ValueType, expected

#: Bytes of a document beyond which a fault of its text has no place.
_PLACED: Final = 1_000_000
#: What a `type` can be. A tuple: whatever a document has there is looked for in it, lists too.
_KINDS: Final = tuple(Kind)
#: Text that may hold a number beyond a float's range, or half a character: the value is then looked at.
_SUSPECT: Final = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{300}|\\u[dD][89a-fA-F]")


#: In a fifth of the time: what it takes, `_DECODER` takes with equal values, and none that cannot be stored.
_FAST: Final = msgspec.json.Decoder()


def _refuse(word: str) -> None:
    raise ValueError(word)


#: Made once: that takes as long as parsing a document.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)


class Named(NamedTuple):
    """What the name of a document says of it: the value of its `type`, and of its `file_name`; None where
    any will do."""

    kind: str
    file_name: str | None


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a document. Line and column count from 1; 0 where there is none."""

    line: int
    column: int
    message: str


def parse_document(data: bytes) -> tuple[dict[str, Any], Fault | None]:
    """A document as its text says, an object with an object `metadata`; `{}` and its fault where it is none.

    The text is strict JSON in UTF-8 without a byte order mark: a consumer need not guess any other encoding.
    """
    document, fault, _ = _parsed(data)
    return document, fault


def _parsed(data: bytes) -> tuple[dict[str, Any], Fault | None, bool]:
    """As `parse_document`; and whether its values are known to be such as can be stored."""
    try:
        document, storable = _FAST.decode(data), True
    except (msgspec.MsgspecError, ValueError, RecursionError):
        storable = False
        try:
            document = _DECODER.decode(data.decode())
        except (ValueError, RecursionError):
            faults = read_json(data)[1] if len(data) <= _PLACED else []
            first = faults[0] if faults else Fault(0, 0, "it is not JSON")
            return {}, Fault(first.line, first.column, first.message), False
    if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
        none = Fault(1, 1, 'a document is an object with an object "metadata", and this is none')
        return {}, none, False
    return document, None, storable


def read_document(
    data: bytes, *, names: Sequence[Named], types: EntryTypes
) -> tuple[dict[str, Any], Fault | None]:
    """The metadata of a document, and its first fault; `{}` where there is one.

    `names` has what its name says: more than one where several media have this document, and none where no
    media has it. It may lack `file_name`, `type` or both. `types` are those of the entries, by key path.
    """
    document, fault, storable = _parsed(data)
    fault = fault or _of_another(document, names)
    if fault is not None:
        return {}, fault
    metadata = document["metadata"]
    if not storable and _SUSPECT.search(data):
        message = next(_unstorable(metadata), "")
        if message:
            return {}, Fault(0, 0, message)
    for steps, value in () if types.fit(metadata) else unfit_places(metadata, types).items():
        return {}, Fault(0, 0, misfit(steps, value, types[steps], "its entry"))
    return metadata, None


def misfit(steps: Steps, value: object, value_type: ValueType, entry: str) -> str:
    """What is wrong with a value that does not fit the type of its entry; `entry` names that."""
    text = json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= 60 else f"{text[:57]}…"
    return f"{join_path(steps)} is {text}, and by {entry} it is {value_type}: {expected(value_type)}"


def _of_another(document: Mapping[str, Any], names: Sequence[Named]) -> Fault | None:
    """A `file_name` or `type` that no media of this document has."""
    file_name, kind = document.get("file_name"), document.get("type")
    if len(names) == 1 and kind is not None and (kind, file_name) == names[0]:
        return None  # as nearly always
    if file_name is not None and not isinstance(file_name, str):
        return Fault(0, 0, f"file_name is {_shown(file_name)}, and it should be text")
    if kind is not None and kind not in _KINDS:
        return Fault(0, 0, f"type is {_shown(kind)}, and it should be image, video or frame")
    fitting = [each for each in names if file_name is None or each.file_name in (None, file_name)]
    if names and not fitting:
        right = " or ".join(quoted(each.file_name or "") for each in names)
        return Fault(0, 0, f"file_name is {_shown(file_name)}, and by its name this is {right}")
    if fitting and kind is not None and kind not in [each.kind for each in fitting]:
        right = " or ".join(quoted(each) for each in sorted({each.kind for each in fitting}))
        return Fault(0, 0, f"type is {_shown(kind)}, and by its name this is {right}")
    return None


def _shown(value: object) -> str:
    return quoted(value) if isinstance(value, str) else json.dumps(value)[:80]


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
