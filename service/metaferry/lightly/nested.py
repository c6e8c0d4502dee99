"""Values inside lists and objects under the schema entries that point into them.

An entry's path may end inside a value (`tags[0]`, `boxes[1].label`, `limits.max` of a map). The value
there is cast to the entry's type by the rules of `values.py`; the rest is unchanged.
`planning/sql/nested.py` has the same rules in SQL; tests hold both equal. The rules are in
docs/format.md, "Values".
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypeVar

from metaferry.lightly.schema_check import is_of_shape
from metaferry.lightly.values import SHAPES, Misfit, ValueType, cast

T = TypeVar("T")

#: The steps of a path, as `key_paths.split_path` gives them: a key, or a position such as `[0]`.
Steps: TypeAlias = tuple[str, ...]

#: What a finding says was expected where a path continues and the value does not.
A_LIST: Final = "a list"
AN_OBJECT: Final = "an object"

_POSITION: Final = re.compile(r"\[([0-9]+)\]")


@functools.lru_cache(maxsize=4_096)
def position(step: str) -> int | None:
    """The position that a step means in a list, from 0; None for a key."""
    match = _POSITION.fullmatch(step)
    if match is None:
        return None
    # No list is that long, and Python refuses to convert thousands of digits.
    return int(match[1]) if len(match[1]) < 19 else 10**18


def by_step(places: Mapping[Steps, T]) -> dict[str, dict[Steps, T]]:
    """Paths below a value grouped by their first step, each without that step."""
    found: dict[str, dict[Steps, T]] = {}
    for (first, *rest), what in places.items():
        found.setdefault(first, {})[tuple(rest)] = what
    return found


def cast_within(value: object, types: Mapping[Steps, ValueType]) -> tuple[object, dict[Steps, Misfit]]:
    """The value with each of the places below it cast to its type, and what does not fit, by place.

    `types` has the steps below the value (`("[0]", "label")`), none of which starts another. A place
    that is not there fits, as a missing value does. A step into what is no list, or no object, is a
    misfit. A place that does not fit is None in what is answered.
    """
    misfits: dict[Steps, Misfit] = {}
    return _cast(value, types, (), misfits), misfits


def unfit_places(metadata: object, types: Mapping[Steps, ValueType]) -> dict[Steps, object]:
    """Places of a document in place that do not fit these types as they stand, with their values.

    `metadata` is what `json.loads` made of the document's. Nothing is cast: the document stays as it is,
    and text is no number in it. What is missing fits.
    """
    found: dict[Steps, object] = {}
    for steps, value_type in types.items():
        value = metadata
        for step in steps:
            index = position(step)
            if value is None:
                break
            if index is None and isinstance(value, dict):
                value = value.get(step)
            elif index is not None and isinstance(value, list):
                value = value[index] if index < len(value) else None
            else:
                found[steps] = value
                break
        else:
            if value is not None and not _stands(value, value_type):
                found[steps] = value
    return found


def has_value(metadata: object, steps: Steps) -> bool:
    """Whether a document in place has a value under a path, of whatever type."""
    value = metadata
    for step in steps:
        index = position(step)
        if index is None and isinstance(value, dict):
            value = value.get(step)
        elif index is not None and isinstance(value, list):
            value = value[index] if index < len(value) else None
        else:
            return False
    return value is not None


def _stands(value: object, value_type: ValueType) -> bool:
    if not is_of_shape(value, SHAPES[value_type]):
        return False
    try:
        cast(value, value_type)  # a text that has to be a date
    except Misfit:
        return False
    return True


def _cast(value: object, types: Mapping[Steps, ValueType], at: Steps, misfits: dict[Steps, Misfit]) -> object:
    if value is None or not types:
        return value
    if () in types:
        try:
            return cast(value, types[()])
        except Misfit as misfit:
            misfits[at] = misfit
            return None
    parts: Any = value
    if isinstance(value, Mapping):
        parts = dict(value)
    elif isinstance(value, list | tuple):
        parts = list(value)
    for step, below in by_step(types).items():
        index = position(step)
        if index is not None and isinstance(parts, list):
            if index < len(parts):
                parts[index] = _cast(parts[index], below, (*at, step), misfits)
        elif index is None and isinstance(parts, dict):
            if step in parts:
                parts[step] = _cast(parts[step], below, (*at, step), misfits)
        else:
            expected = AN_OBJECT if index is None else A_LIST
            misfits.update({(*at, step, *rest): Misfit("type", expected) for rest in below})
    return parts
