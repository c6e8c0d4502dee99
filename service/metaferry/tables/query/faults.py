"""Faults of a query as errors that name line and column in the job file. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metaferry.errors import JobError
from metaferry.tables.expressions import Expression, characters
from metaferry.tables.faults import joined
from metaferry.tables.query.tree import Fault


@dataclass(frozen=True, slots=True)
class QueryText:
    """The text of a query. `place` is its key in the job, `where(at)` a character's place in the file."""

    text: str
    place: str
    where: Callable[[int], str]

    def error(self, faults: Sequence[Fault]) -> JobError:
        """All faults as one error; each with its line, a caret below it, and its advice."""
        return joined([self._one(fault) for fault in faults])

    def find(self, name: str) -> int | None:
        """Where a name stands last, in bytes; None where it does not."""
        at = self.text.rfind(name)
        return None if at < 0 else len(self.text[:at].encode())

    def _one(self, fault: Fault) -> JobError:
        at = None if fault.at is None else characters(self.text, fault.at)
        where = self.where(at if at is not None else 0)
        place = f"{where}: {self.place}" if where else self.place
        return Expression(self.text, place, ()).fault(fault.message, at, advice=fault.advice)
