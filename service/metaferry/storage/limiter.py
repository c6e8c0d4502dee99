"""How many requests may be under way: shared by everything that uses one datasource.

It starts at the configured concurrency, halves when the store asks for less (at most once a second,
since one slow-down hits everything under way) and grows back by one for each window of answers. It
never sleeps and never drops a request: who comes too many waits in order of arrival.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType


class Limiter:
    """`async with limiter:` around one request. `clock` is monotonic seconds."""

    def __init__(self, concurrency: int, *, clock: Callable[[], float]) -> None:
        self._most = max(1, concurrency)
        self._allowed = float(self._most)
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._clock = clock
        self._calm_until = float("-inf")

    @property
    def allowed(self) -> int:
        """Requests that may be under way now."""
        return max(1, int(self._allowed))

    def throttled(self) -> None:
        """The store asked for less."""
        now = self._clock()
        if now >= self._calm_until:
            self._allowed = max(1.0, self._allowed / 2)
            self._calm_until = now + 1.0

    def answered(self) -> None:
        """A request went through: one more may be under way after a whole window of them."""
        if self._allowed < self._most:
            self._allowed = min(float(self._most), self._allowed + 1.0 / self._allowed)

    async def __aenter__(self) -> None:
        if self._under_way < self.allowed and not self._waiting:
            self._under_way += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was ours already: hand it on
                self._under_way -= 1
                self._wake()
            else:
                self._waiting.remove(turn)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._under_way -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._under_way < self.allowed:
            turn = self._waiting.popleft()
            if not turn.done():
                self._under_way += 1
                turn.set_result(None)
