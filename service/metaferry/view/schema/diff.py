"""What a sync would change in schema.json: the plan of that sync, looked at for its entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from metaferry.job.model import Job
from metaferry.lightly.schema import Entry
from metaferry.planning.types.sticky import rewritten
from metaferry.progress import Progress
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.run import planned


@dataclass(frozen=True, slots=True)
class ChangedEntry:
    """An entry as it is and as it becomes; `documents` with a value for it are written again."""

    before: Entry
    after: Entry
    documents: int


@dataclass(frozen=True, slots=True)
class SchemaDiff:
    """The entries that a sync would add, change and remove, and how many stay as they are.

    `exists`: there is a schema.json. `written`: it would be written. `stopped` names the safety limit that
    would stop the sync before that, "" if none would; `advice` says what to do about it.
    """

    exists: bool
    written: bool
    added: tuple[Entry, ...]
    changed: tuple[ChangedEntry, ...]
    removed: tuple[Entry, ...]
    kept: int
    stopped: str = ""
    advice: str = ""

    @property
    def exit_code(self) -> int:
        """5 where the sync would be stopped, else 4 where schema.json would change, else 0.

        Rows that are rejected within the limits do not keep schema.json from being written: no 3.
        """
        if self.stopped:
            return 5
        return 4 if self.written else 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; entries as schema.json has them."""
        return {
            "exists": self.exists,
            "written": self.written,
            "added": [entry.to_json() for entry in self.added],
            "changed": [
                {"before": one.before.to_json(), "after": one.after.to_json(), "documents": one.documents}
                for one in self.changed
            ],
            "removed": [entry.to_json() for entry in self.removed],
            "kept": self.kept,
            "stopped": self.stopped,
            "advice": self.advice,
        }


def diff_schema(
    job: Job,
    *,
    prefix: str = "",
    limit: int | None = None,
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> SchemaDiff:
    """The difference that a sync would make. Raises what a plan raises (`runs/run.py`)."""
    with planned(job, prefix=prefix, limit=limit, progress=progress, deps=deps) as (run, gathered, decided):
        entries = decided.entries
        added = set(entries.added)
        changed = tuple(
            ChangedEntry(before, after, rewritten(run.database, after.path))
            for before, after in entries.edits
        )
        return SchemaDiff(
            exists=gathered.in_place is not None,
            written=entries.changed,
            added=tuple(entry for entry in entries.entries if entry.path in added),
            changed=changed,
            removed=entries.removed,
            kept=len(entries.entries) - len(added) - len(changed),
            stopped=decided.stopped,
            advice=decided.advice,
        )
