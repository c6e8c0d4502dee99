"""The dependencies of a run that tests replace: time, sleep, randomness, and how adapters are wrapped.

Production uses the defaults. Tests use a clock that they set, a seeded generator, and a wrapper that
injects faults between the retry layer and a store.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from metaferry.storage.protocol import Adapter


def _unwrapped(adapter: Adapter) -> Adapter:
    return adapter


@dataclass(frozen=True, slots=True)
class RuntimeDeps:
    """`clock` is monotonic seconds; `sleep` is awaited on the event loop of the storages.

    `wrap` gets every adapter that the run opens and returns the one to use.

    `lease_clock` and `lease_sleep` are the same for the renewals of the lease, which run beside the work:
    in tests a sleep of the work advances the clock, which must not expire the lease.
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    lease_clock: Callable[[], float] = time.monotonic
    lease_sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: random.Random = field(default_factory=random.SystemRandom)
    wrap: Callable[[Adapter], Adapter] = _unwrapped

    def new_run_id(self, started: datetime) -> str:
        """An id for a run that begins at this time (UTC). Ids sort by time."""
        # Microseconds first, for runs that began within one second.
        unique = f"{started.microsecond:05x}{self.random.getrandbits(12):03x}"
        return f"{started:%Y%m%dT%H%M%SZ}-{unique}"

    @property
    def is_plain(self) -> bool:
        """Whether a storage opened in another process is the same as one opened here."""
        return self.wrap is _unwrapped
