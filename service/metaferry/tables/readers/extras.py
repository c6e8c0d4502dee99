"""The error that names an extra of this package which is not installed."""

from __future__ import annotations

from metaferry.errors import JobError


def missing_extra(extra: str, what: str, place: str) -> JobError:
    """The error of a job that needs libraries of an extra; `what` needs them."""
    return JobError(
        f"{what}, and the libraries for that are not installed",
        place=place,
        advice=f"pip install 'metaferry[{extra}]'",
    )
