"""What a run takes from the deps: time, sleep, randomness, and how storages are opened.

Production uses the defaults. Tests bring a clock that they turn themselves, a seeded generator,
and a wrapper that injects faults between the retry layer and a store.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from metaferry.storage.protocol import Adapter


def _as_it_is(adapter: Adapter) -> Adapter:
    return adapter


@dataclass(frozen=True, slots=True)
class RuntimeDeps:
    """`clock` is monotonic seconds; `sleep` is awaited on the event loop of the storages.

    `wrap` is given every adapter that the run opens and returns the one that is used.

    `lease_clock` and `lease_sleep` are the same for what goes on *beside* the work, the renewal of
    the lease: where a sleep of the work turns the clock, as in tests, that would run away with it.
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    lease_clock: Callable[[], float] = time.monotonic
    lease_sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: random.Random = field(default_factory=random.SystemRandom)
    wrap: Callable[[Adapter], Adapter] = _as_it_is

    @property
    def is_plain(self) -> bool:
        """Whether a storage opened in another process is the same as one opened here."""
        return self.wrap is _as_it_is
