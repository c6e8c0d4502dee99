"""Reads the JSON of a format back into its dataclass, also that of an earlier version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: Actions and counts by the names that they had in earlier versions.
_RENAMED: Final = {"postponed": "deferred", "leave": "skip"}


def read_format(kind: type[T], data: bytes | str, version: int, *, older: Sequence[int] = ()) -> T:
    """The dataclass of this JSON, every field checked. ValueError says what is wrong with it.

    `older` are versions that are read too, with their names in place of those of today.
    """
    from pydantic import ValidationError

    value = json.loads(data)
    found = value.get("version") if isinstance(value, dict) else None
    if found != version and found not in older:
        raise ValueError(f"it is of version {found!r}, and this is for version {version}")
    for report in (value, value.get("report")):
        for key in ("documents", "examples"):
            named = report.get(key) if isinstance(report, dict) else None
            for before, now in _RENAMED.items():
                if isinstance(named, dict) and before in named:
                    named.setdefault(now, named.pop(before))
    try:
        checked: T = _adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return checked


_adapters: Final[dict[type[Any], Any]] = {}


def _adapter(kind: type[Any]) -> Any:
    """Made once: that takes longer than reading a hundred markers."""
    from pydantic import TypeAdapter

    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]
