"""What is measured, and what a check says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from metaferry.errors import MetaferryError, StorageError

T = TypeVar("T")


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One line. `measured` is what was found, in a few words; of a skipped check, why.

    `remedy` is what to do about a warning or a failure; `place` the URL or the table that it is about.
    """

    name: str
    status: Status
    measured: str
    remedy: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Measured(Generic[T]):
    """The value of one measurement, or the error that it ended with, or why it was not made."""

    value: T | None = None
    error: MetaferryError | None = None
    skipped: str = ""

    @property
    def done(self) -> bool:
        return self.error is None and not self.skipped


async def measured(work: Awaitable[T]) -> Measured[T]:
    """Awaits it. Errors of stores are measurements, not the end of the others."""
    try:
        return Measured(await work)
    except StorageError as error:
        return Measured(error=error)


def measured_now(work: Callable[[], T]) -> Measured[T]:
    """The same for a call that is not awaited, with every error that is ours."""
    try:
        return Measured(work())
    except MetaferryError as error:
        return Measured(error=error)


@dataclass(slots=True)
class Doctor:
    """All checks in the order in which they are shown. `read_only`: nothing was written."""

    job: str
    read_only: bool
    checks: list[Check] = field(default_factory=list)

    @property
    def counts(self) -> dict[Status, int]:
        found = Counter(check.status for check in self.checks)
        return {status: found[status] for status in Status}

    @property
    def exit_code(self) -> int:
        """1 where a check failed; warnings are 0."""
        return 1 if self.counts[Status.FAIL] else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, JSON-ready."""
        return {
            "job": self.job,
            "read_only": self.read_only,
            "exit_code": self.exit_code,
            "counts": {str(status): number for status, number in self.counts.items()},
            "checks": [
                {
                    "name": check.name,
                    "status": str(check.status),
                    "measured": check.measured,
                    "remedy": check.remedy,
                    "place": check.place,
                }
                for check in self.checks
            ],
        }
