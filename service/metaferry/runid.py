"""Which run this process is doing, for its log. Nothing is decided by it.

A module variable and no context variable: what a run does is spread over threads and event loops that
began before it. Where several runs go on at once, in a program of somebody's own, none is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_going_on: list[str] = []
_last = ""


@contextmanager
def during(run_id: str) -> Iterator[None]:
    """What is logged in this block is of that run; and what is logged after it, until another begins."""
    global _last
    _going_on.append(run_id)
    _last = run_id
    try:
        yield
    finally:
        _going_on.remove(run_id)


def current() -> str:
    """The id of the run that goes on, or else of the last one; "" before the first, and among several."""
    ids = set(_going_on)
    if not ids:
        return _last
    return ids.pop() if len(ids) == 1 else ""
