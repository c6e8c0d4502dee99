"""The keys that nobody uses, as a plan shows them. Pure functions."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence

from metaferry.errors import JobError
from metaferry.tables.json.shapes import Malformed, Structure, check_shape, shape_of_line
from metaferry.tables.json.typed import sql_type
from metaferry.tables.model import ShownColumn, folded
from metaferry.tables.samples import MOST, first_of
from metaferry.tables.staging import taken_unasked


def others_of(objects: Sequence[str], used: frozenset[str] | None, place: str) -> tuple[ShownColumn, ...]:
    """The keys of the first objects that are not used, with the types that they have there."""
    structure = Structure(place)
    values: dict[str, list[str | None]] = {}
    for number, text in enumerate(objects):
        for key, value in json.loads(text).items():
            if taken_unasked(key) if used is None else folded(key) in used:
                continue
            if key not in values and len(values) == MOST:
                continue
            given = (
                value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            )
            values.setdefault(key, []).append(given)
            with contextlib.suppress(Malformed, JobError):  # nobody uses it
                shape = shape_of_line(json.dumps({key: value}))
                check_shape(shape)
                structure.add(shape, number)
    types = {key: sql_type(member) for key, member in structure.members.items()}
    return tuple(
        ShownColumn(key, types.get(key) or "VARCHAR", first_of(given), used=False)
        for key, given in values.items()
    )
