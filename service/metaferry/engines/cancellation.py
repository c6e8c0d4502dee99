"""How the tasks of one run in this process are asked to drain: by a cancellation scope that the run names.

An executor takes tasks and has no call for "finish what is under way". So a task opens the scope of its run
while it works, and whoever reaches the process cancels the scope. A scope stays cancelled: a task that
begins after it ends at once.
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
    """A `Stop` that is set once the scope is cancelled, also before."""
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
    """Asks every task of this process in that scope to drain."""
    with _lock:
        _cancelled.add(scope)
        stops = list(_scopes.get(scope, ()))
    for stop in stops:
        stop.request()
