"""Values inside lists and objects under the schema entries that point into them.

An entry's path may end inside a value (`tags[0]`, `boxes[1].label`, `limits.max` of a map). The value
there is cast to the entry's type by the rules of `values.py`; the rest is unchanged.
`planning/sql/nested.py` has the same rules in SQL; tests hold both equal. The rules are in
docs/format.md, "Values".
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypeVar

from metaferry.lightly.schema_check import is_of_shape
from metaferry.lightly.values import MAX_INTEGER, SHAPES, Misfit, Shape, ValueType, cast

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


class EntryTypes(dict[Steps, ValueType]):
    """The types of entries by the steps of their paths, and a quick test for many documents: nearly every one
    fits, and `unfit_places` takes several times as long as parsing it."""

    def __init__(self, types: Mapping[Steps, ValueType]) -> None:
        super().__init__(types)
        # Paths of keys alone: the last key, those before it, class and bound of a value that surely fits.
        self._keys: list[tuple[str, Steps, type | None, float, ValueType]] = [
            (steps[-1], steps[:-1], *_EXACT[SHAPES[value_type]], value_type)
            for steps, value_type in types.items()
            if steps and all(position(step) is None for step in steps)
        ]
        self._others = {
            steps: value_type
            for steps, value_type in types.items()
            if not steps or any(position(step) is not None for step in steps)
        }

    def fit(self, metadata: dict[str, Any]) -> bool:
        """Whether `unfit_places` finds nothing in these values, as `json.loads` made them."""
        for last, above, exact, bound, value_type in self._keys:
            place: Any = metadata
            for step in above:
                place = place.get(step)
                if type(place) is not dict:
                    break
            if type(place) is not dict:
                if place is None:
                    continue  # what is missing fits
                return False
            value: Any = place.get(last)
            kind = type(value)
            if value is None or (kind is exact and (not bound or -bound < value < bound)):
                continue
            if not _stands(value, value_type):
                return False
        return not self._others or not unfit_places(metadata, self._others)


#: The class of nearly all values of a shape, and what their size is below (0: any). None: not by its class.
_EXACT: Final[Mapping[Shape, tuple[type | None, float]]] = {
    Shape.INTEGER: (int, MAX_INTEGER),
    Shape.FLOAT: (float, math.inf),
    Shape.STRING: (str, 0),
    Shape.BOOLEAN: (bool, 0),
    Shape.DATETIME: (None, 0),
}


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
    shape = SHAPES[value_type]
    if type(value) is int and (shape is Shape.INTEGER or shape is Shape.FLOAT) and abs(value) <= MAX_INTEGER:
        return True
    if not is_of_shape(value, shape):
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
