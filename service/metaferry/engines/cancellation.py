"""How the tasks of one run in this process are told to stop: by a bell of the run's own name.

A pool of workers takes tasks and has no word for "finish what is under way": a task therefore
listens for its run's bell while it works, and whoever reaches the process rings it. A bell that was
rung stays rung, so a task that begins after it ends at once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

from metaferry.progress import Stop

_lock: Final = threading.Lock()
_cancelled: Final[set[str]] = set()
_scopes: Final[dict[str, list[Stop]]] = {}


@contextlib.contextmanager
def cancellation_scope(scope: str) -> Iterator[Stop]:
    """A `Stop` that is set when the bell rings, or has rung."""
    stop = Stop()
    with _lock:
        _scopes.setdefault(scope, []).append(stop)
        cancelled = scope in _cancelled
    if cancelled:
        stop.request()
    try:
        yield stop
    finally:
        with _lock:
            _scopes[scope].remove(stop)
            if not _scopes[scope]:
                del _scopes[scope]


def cancel(scope: str) -> None:
    """Asks every task of this process that listens for the bell to stop."""
    with _lock:
        _cancelled.add(scope)
        stops = list(_scopes.get(scope, ()))
    for stop in stops:
        stop.request()
