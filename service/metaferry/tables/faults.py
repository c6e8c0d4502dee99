"""Faults of several expressions as one error, so that a person mends them all before the next run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from metaferry.errors import JobError


class Faults(JobError):
    """Several faults; `each` has them apart."""

    def __init__(self, each: Sequence[JobError]) -> None:
        self.each = tuple(each)
        lines = []
        for one in self.each:
            lines.append(one.message)
            if one.advice:
                lines.append(f"    {one.advice}")
        super().__init__(f"{len(self.each)} faults in the job\n" + "\n".join(lines))


class Collected:
    """Faults that are told together: `with collected.one():` around each step, `raise_all` at the end."""

    def __init__(self) -> None:
        self._found: list[JobError] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """A step; where it raises JobError the steps after it are made all the same."""
        try:
            yield
        except JobError as error:
            self.add(error)

    def add(self, error: JobError) -> None:
        """One more."""
        self._found.append(error)

    def raise_all(self) -> None:
        """Raises JobError with all of them, where there are any."""
        if self._found:
            raise joined(self._found)


def joined(faults: Sequence[JobError]) -> JobError:
    """One error that tells of all, of one or more."""
    each = [one for fault in faults for one in (fault.each if isinstance(fault, Faults) else (fault,))]
    return each[0] if len(each) == 1 else Faults(each)
