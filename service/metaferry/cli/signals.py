"""SIGINT and SIGTERM: the first asks the run to stop cleanly, a second one ends it at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from metaferry.progress import Stop

#: What asks a run to end.
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping(say: Callable[[str], None]) -> Iterator[Stop]:
    """A `Stop` that the signals set while the block runs. For the main thread only."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None:
            # As if there were no handler: the parent sees which signal it was.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        stop.request(number)
        say("stopping: what is under way is finished; once more ends it at once")

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    # One that came earlier waits, where `serve` started this process (serving/child.py).
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
