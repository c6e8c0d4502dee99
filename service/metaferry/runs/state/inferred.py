"""The schema entries that runs inferred, as they wrote them: whoever edits one since has made it their own.

`inferred.json` in the state folder. Without it nothing is known, so nothing is changed: an entry whose
origin nobody remembers is treated like one that was written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from metaferry.job.model import Job
from metaferry.job.parts import Infer
from metaferry.lightly.schema import Entry
from metaferry.planning.formats import Report
from metaferry.runs.state.folder import State
from metaferry.runs.state.versioned import read_versioned, write_versioned

_VERSION: Final = 1


def inferred_entries(state: State) -> dict[str, dict[str, Any]]:
    """Entries (keys as schema.json has them) by their path; none where the file is not there or not one."""
    return read_versioned(
        state,
        state.inferred_key,
        _VERSION,
        lambda content: {str(entry["path"]): dict(entry) for entry in content["entries"]},
    )


def remember_new(state: State, job: Job, report: Report, entries: Iterable[Entry]) -> None:
    """Adds what this run inferred, once it has written it, to what is known. Raises StorageError.

    `entries` are all that schema.json has now: what is not among them as it was written is forgotten.
    """
    schema = report.schema
    new = {*schema.added, *(edit.path for edit in schema.changed)}
    if not (schema.written and new and isinstance(job.schema_, Infer)):
        return
    now = {entry.path: entry.to_json() for entry in entries}
    kept = {path: entry for path, entry in inferred_entries(state).items() if now.get(path) == entry}
    known = kept | {path: entry for path, entry in now.items() if path in new}
    write_versioned(state, state.inferred_key, _VERSION, {"entries": [known[path] for path in sorted(known)]})
