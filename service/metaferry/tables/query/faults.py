"""Faults of a query as errors that name line and column in the job file. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metaferry.errors import JobError
from metaferry.job.places import TextPlace
from metaferry.tables.expressions import Expression, characters
from metaferry.tables.faults import joined
from metaferry.tables.query.tree import Fault


@dataclass(frozen=True, slots=True)
class QueryText:
    """The text of a query. `place` is its key in the job, `origin` where the file has it."""

    text: str
    place: str
    origin: TextPlace | None

    def error(self, faults: Sequence[Fault]) -> JobError:
        """All faults as one error; each with its line, a caret below it, and its advice."""
        return joined([self._one(fault) for fault in faults])

    def find(self, name: str) -> int | None:
        """Where a name stands last, in bytes; None where it does not."""
        at = self.text.rfind(name)
        return None if at < 0 else len(self.text[:at].encode())

    def _one(self, fault: Fault) -> JobError:
        at = None if fault.at is None else characters(self.text, fault.at)
        return Expression(self.text, self.place, origin=self.origin).fault(fault.message, at, fault.advice)
