"""The bridge between a plain thread and the event loop of the storages."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator

import pytest

from metaferry.storage.io.portal import Portal


class Ended(BaseException):
    """Ends a program, as no `Exception` does."""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", [OSError, Ended])
def test_what_ends_an_iterator_reaches_the_caller(portal: Portal, kind: type[BaseException]) -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        raise kind("the end")

    got: list[int] = []
    with pytest.raises(kind, match="the end"):
        got.extend(portal.iterate(items()))
    assert got == [1]
    items_ = portal.iterate(items())
    assert next(items_) == 1
    items_.close()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="signals of POSIX")
def test_a_signal_that_does_not_interrupt_the_main_thread_is_handled_while_it_waits(portal: Portal) -> None:
    """The kernel may deliver it to another thread; the Python handler runs in the main thread only."""
    handled = threading.Event()

    async def work() -> bool:
        # From the thread of the loop, to itself: the wait of the main thread is not interrupted.
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        return await asyncio.to_thread(handled.wait, 60)

    before = signal.signal(signal.SIGUSR1, lambda number, frame: handled.set())
    try:
        assert portal.run(work())
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_timeout_of_the_work_itself_is_raised(portal: Portal) -> None:
    async def work() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        portal.run(work())
