"""The account of a rollback, or of its plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from metaferry.findings import Finding
from metaferry.planning.formats import Example
from metaferry.planning.price.model import Price, Requests
from metaferry.storage.counts import RequestCounts


@dataclass(slots=True)
class RollbackCounts:
    """Documents of the run's backup by what becomes of them: planned, or done."""

    restore: int = 0  # replaced by the run: given their old bytes
    recreate: int = 0  # deleted by the run: written again
    remove: int = 0  # created by the run: deleted
    unchanged: int = 0  # as they were before the run
    conflict: int = 0  # neither as the run left them nor as they were: not touched
    failed: int = 0  # could not be read, written or deleted
    deferred: int = 0  # planned, and not begun


@dataclass(slots=True)
class RollbackReport:
    """`run_id` is the run that is rolled back, `rollback_id` the rollback itself ("" for a plan).

    `schema` is what becomes of schema.json: `restore`, `remove`, `unchanged`, `conflict` (somebody else
    changed it), `held back`, or `none` (the run was not to write it). `planned` are about the requests that
    an apply sends, reading included. `exit_code`: 0, or 3 where something is not as it was before the run,
    or the signal's.
    """

    run_id: str
    lightly: str = ""
    rollback_id: str = ""
    applied: bool = False
    started: str = ""
    finished: str = ""
    exit_code: int = 0
    stopped: str = ""
    advice: str = ""
    documents: RollbackCounts = field(default_factory=RollbackCounts)
    schema: str = "none"
    bytes: int = 0  # of the old versions that are written
    later_runs: tuple[str, ...] = ()  # that have written since
    best_effort: bool = False  # the store checks no conditions: what others write meanwhile can be lost
    planned: Requests = field(default_factory=Requests)
    requests: RequestCounts = field(default_factory=RequestCounts)
    price: Price = field(default_factory=Price)  # of `planned`; once applied, of `requests`
    examples: dict[str, list[Example]] = field(default_factory=dict)
    findings: dict[str, int] = field(default_factory=dict)
    finding_examples: list[Finding] = field(default_factory=list)
    report_url: str = ""
    version: int = 1

    @property
    def changes(self) -> int:
        """Documents that are, or would be, written or deleted."""
        return self.documents.restore + self.documents.recreate + self.documents.remove

    @property
    def is_nothing(self) -> bool:
        """Whether everything is as it was before the run."""
        return not (
            self.changes
            or self.documents.conflict
            or self.documents.failed
            or self.documents.deferred
            or self.schema not in ("none", "unchanged")
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, JSON-ready."""
        return asdict(self)
