"""Small JSON files of the state folder that have a version, and that a run can do without."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from metaferry.runs.state.folder import State

log = logging.getLogger(__name__)
T = TypeVar("T")


def read_versioned(state: State, key: str, version: int, take: Callable[[Any], dict[str, T]]) -> dict[str, T]:
    """What `take` makes of the content; empty where the file is not there, or not one of this version."""
    data = state.read(key)
    if data is None:
        return {}
    try:
        content = json.loads(data)
        if content["version"] != version:
            raise ValueError(f"it is of version {content['version']!r}")
        return take(content)
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s is not used: %s", state.url_of(key), error)
        return {}


def write_versioned(state: State, key: str, version: int, content: Mapping[str, Any]) -> None:
    """Writes `content` with its version. Raises StorageError."""
    text = json.dumps({"version": version, **content}, ensure_ascii=False, indent=1)
    state.write(key, text.encode() + b"\n")
