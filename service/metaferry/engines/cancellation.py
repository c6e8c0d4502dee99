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
_rung: Final[set[str]] = set()
_listening: Final[dict[str, list[Stop]]] = {}


@contextlib.contextmanager
def listening(bell: str) -> Iterator[Stop]:
    """A `Stop` that is set when the bell rings, or has rung."""
    stop = Stop()
    with _lock:
        _listening.setdefault(bell, []).append(stop)
        rung = bell in _rung
    if rung:
        stop.request()
    try:
        yield stop
    finally:
        with _lock:
            _listening[bell].remove(stop)
            if not _listening[bell]:
                del _listening[bell]


def ring(bell: str) -> None:
    """Asks every task of this process that listens for the bell to stop."""
    with _lock:
        _rung.add(bell)
        stops = list(_listening.get(bell, ()))
    for stop in stops:
        stop.request()
