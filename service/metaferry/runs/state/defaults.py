"""The defaults that the last run with `compact: true` left documents out by.

`defaults.json` in the state folder. A document that is not there says whatever schema.json says today: if
somebody edits a default, the next run writes the documents that said the old one, and can say why.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from metaferry.job.model import Job
from metaferry.lightly.schema import Entry
from metaferry.runs.state.folder import State
from metaferry.runs.state.versioned import read_versioned, write_versioned

_VERSION: Final = 1


def used_defaults(state: State) -> dict[str, Any]:
    """Defaults by the path of their entry; none where the file is not there or not one."""
    return read_versioned(state, state.defaults_key, _VERSION, lambda content: dict(content["defaults"]))


def remember_defaults(state: State, job: Job, entries: Iterable[Entry]) -> None:
    """Keeps the defaults of a run that wrote something. Raises StorageError."""
    if job.compact:
        defaults = {entry.path: entry.default for entry in entries}
        write_versioned(state, state.defaults_key, _VERSION, {"defaults": defaults})
