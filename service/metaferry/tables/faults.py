"""Faults of several expressions as one error, so that a person mends them all before the next run. Pure."""

from __future__ import annotations

from collections.abc import Sequence

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


def joined(faults: Sequence[JobError]) -> JobError:
    """One error that tells of all, of one or more."""
    each = [one for fault in faults for one in (fault.each if isinstance(fault, Faults) else (fault,))]
    return each[0] if len(each) == 1 else Faults(each)
