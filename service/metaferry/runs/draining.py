"""How a stop ends the requests of a run before and after its documents, whose writing drains by itself.

Before the first document nothing has to be finished: waits, lists and reads end at once. After the last
one the report is still to be written, which has a few seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

from metaferry.progress import Stop
from metaferry.runs.storages import Storages
from metaferry.storage.io.portal import Portal
from metaferry.storage.throttle.limiter import urgent
from metaferry.storage.waits import Deferred, Drain

#: Seconds after a stop until all requests of the block are cut off, writes under way too. With those for
#: giving back the lease they fit into the ten seconds that container engines allow.
CUT_AFTER: Final = 4.0


@contextmanager
def ending_at_once(stop: Stop | None, storages: Storages, portal: Portal) -> Iterator[None]:
    """In this block a stop ends all that waits and all that reads; it raises `stop.error` then."""
    if stop is None:
        yield
        return
    drain = Drain()

    def drain_then_cut() -> None:
        drain.request()
        portal.later(CUT_AFTER, drain.cut)

    stop.listen(drain_then_cut)
    storages.drained_by(drain)
    try:
        yield
    except Deferred:
        raise stop.error from None
    finally:
        storages.drained_by(None)


@contextmanager
def ending_soon(stop: Stop | None, storages: Storages, portal: Portal) -> Iterator[None]:
    """In this block a stop, also one that came before, leaves a few seconds; `Deferred` is raised then.

    After a stop, neither `max_rate` nor a throttling pause is waited for.
    """
    if stop is None:
        yield
        return
    drain = Drain()

    def cut() -> None:
        drain.request()
        drain.cut()

    stop.listen(lambda: portal.later(CUT_AFTER, cut))
    storages.drained_by(drain)
    try:
        with urgent(drained=True) if stop.requested else nullcontext():
            yield
    finally:
        storages.drained_by(None)
