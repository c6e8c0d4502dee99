"""SIGINT and SIGTERM: the first asks the run to drain, a second one ends it at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from metaferry.progress import Stop

#: The signals that ask a run to end.
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping(say: Callable[[str], None]) -> Iterator[Stop]:
    """A `Stop` that the signals set while the block runs. Main thread only."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.signal is not None:
            # As without a handler, so that the parent sees which signal it was.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        stop.request(number)
        say("stopping: finishing what is under way; a second signal ends it at once")

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    # `serve` starts this process with the signals blocked (serve/child.py): an earlier one is delivered here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
