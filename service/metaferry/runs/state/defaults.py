"""The defaults that the last run with `compact: true` left documents out by.

`defaults.json` in the state folder. A document that is not there says whatever schema.json says today: if
somebody edits a default, the next run writes the documents that said the old one, and can say why.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any, Final

from metaferry.job.model import Job
from metaferry.lightly.schema import Entry
from metaferry.runs.state.folder import State

log = logging.getLogger(__name__)

_VERSION: Final = 1


def used_defaults(state: State) -> dict[str, Any]:
    """Defaults by the path of their entry; none where the file is not there or not one."""
    data = state.read(state.defaults_key)
    if data is None:
        return {}
    try:
        content = json.loads(data)
        if content["version"] != _VERSION:
            raise ValueError(f"it is of version {content['version']!r}")
        return dict(content["defaults"])
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s is not used: %s", state.url_of(state.defaults_key), error)
        return {}


def remember_defaults(state: State, job: Job, entries: Iterable[Entry]) -> None:
    """Keeps the defaults of a run that wrote something. Raises StorageError."""
    if job.compact:
        content = {"version": _VERSION, "defaults": {entry.path: entry.default for entry in entries}}
        state.write(state.defaults_key, json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")
