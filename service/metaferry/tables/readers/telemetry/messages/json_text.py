"""Messages that are JSON."""

from __future__ import annotations

import json
from typing import Any

from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.telemetry.messages.limits import Budget, LeftOut, bounded


def json_message(data: bytes, left_out: LeftOut) -> dict[str, Any]:
    """A message that is a JSON object. Raises Bad."""
    try:
        found = json.loads(data, object_pairs_hook=_members)
    except RecursionError:
        raise Bad("it is nested too deeply") from None
    except ValueError as error:
        raise Bad(f"it is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise Bad("it is no JSON object")
    message: dict[str, Any] = bounded(found, Budget(left_out))
    return message


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found
