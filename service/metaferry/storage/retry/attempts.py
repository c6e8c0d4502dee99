"""The attempts of one request: how often, when, and how long each may take.

Transient failures are retried with full jitter until `retry_for` seconds are used up; permanent ones are
raised at once. Each attempt has a deadline of its own. Expired credentials are renewed once, then stop the
run; so are those that are refused, where the file that they came from holds others by now. A retry budget
bounds the load: beyond two retries for every request, they are spaced far apart. Every attempt takes a turn
of the limiter, and is counted. What a failure means is decided by the caller (`storage.py`).
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar, runtime_checkable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from metaferry.errors import (
    Changed,
    Conflict,
    Denied,
    Expired,
    NotFound,
    StorageError,
    Throttled,
    Unavailable,
    Unsupported,
)
from metaferry.storage.counts import RequestCounts
from metaferry.storage.errors import UNREACHED
from metaferry.storage.protocol import Adapter, Blob, Put
from metaferry.storage.rates import RateHistory
from metaferry.storage.throttle.limiter import Limiter, Outcome, is_undrained, sleeping
from metaferry.storage.waits import Budget, Drain

T = TypeVar("T")

#: The results of a batch of puts: the token, the error, or None where it was not tried.
Attempted = Sequence[str | StorageError | None]

#: Errors that are answers about an object: the request as such was served.
_ANSWERS = (NotFound, Conflict, Changed)

#: The field of `RequestCounts` that an attempt counts in.
Counter = Literal["list", "get", "put", "delete", "tags"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds of the retries. All times in seconds, `slowest` in bytes a second.

    `retry_for` bounds all attempts of one request together, from the first on, including the pauses that
    the store asks for but not the wait for a turn of the limiter; 0 tries once. `deadline` bounds one
    attempt, plus the time its bytes take at `slowest`. Waits are drawn from [0, first * 2**n], at most
    `longest`, and not below Retry-After; where that exceeds what is left of `retry_for`, the last attempt
    is made when `retry_for` ends. Beyond `spare` retries and `share` more for every request, a retry waits
    until `longest` after the one before it.
    """

    retry_for: float = 300.0
    deadline: float = 60.0
    slowest: float = 100_000.0
    first: float = 0.2
    longest: float = 20.0
    spare: int = 10
    share: float = 2.0


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """One request: `make` makes an attempt. `size` is the bytes of its content, None where that is unknown;
    `path` is for messages."""

    counter: Counter
    path: str
    size: int | None
    make: Callable[[], Awaitable[T]]

    @property
    def writes(self) -> bool:
        return self.counter in ("put", "delete")


@runtime_checkable
class Renewable(Protocol):
    """An adapter that can look its credentials up again."""

    async def renew(self) -> None: ...


@runtime_checkable
class FromFiles(Protocol):
    """An adapter whose credentials may come from files, which are replaced when the credentials are."""

    def outdated(self) -> bool:
        """Whether a file holds another text than the one in use."""
        ...


class Attempts:
    """The attempts of all requests through `adapter`. Thread-safe.

    `clock` is monotonic seconds; `sleep`, `rng` are injected by tests.
    """

    def __init__(
        self,
        adapter: Adapter,
        policy: Policy,
        *,
        concurrency: int = 64,
        max_rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._adapter = adapter
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        self._rng = rng if rng is not None else random.Random()
        self.limiter = Limiter(
            concurrency, clock=clock, sleep=sleep, max_rate=max_rate, longest=max(0.0, policy.retry_for)
        )
        self._requests = RequestCounts()
        self._other_processes = RateHistory()
        self._counting = threading.Lock()
        self._keyed = 0  # requests without their retries
        self._last_spare = float("-inf")
        self.may_write: Callable[[], bool] = lambda: True
        self._renewals = 0
        self._renewing = asyncio.Lock()

    @property
    def requests(self) -> RequestCounts:
        return self._requests

    @property
    def timeout(self) -> float:
        """Seconds without a successful write after which the store counts as down; see the contract."""
        retry_for = self._policy.retry_for
        return max(2 * retry_for, 10 * self.limiter.spacing) if retry_for > 0 else float("inf")

    @property
    def rates(self) -> RateHistory:
        return self.limiter.rates.history() + self._other_processes

    def absorb(self, requests: RequestCounts, rates: RateHistory) -> None:
        """Adds the counts of another process."""
        with self._counting:
            self._requests = self._requests + requests
            self._other_processes = self._other_processes + rates

    def count_bytes(self, *, read: int = 0, written: int = 0) -> None:
        with self._counting:
            self._requests.bytes_read += read
            self._requests.bytes_written += written

    def count_read(self) -> None:
        """Counts a read that is part of another request."""
        with self._counting:
            self._requests.get += 1

    async def all(self, work: Work[T], failed: StorageError | None = None) -> T:
        """All attempts of one request; `failed` is the error of a first attempt from `put_blocking`."""
        budget = Budget(self._policy.retry_for, self._clock)
        try:
            if failed is None:
                with self._counting:
                    self._keyed += 1
            else:
                budget.begin()
            return await self._renewed(work, budget, failed)
        except StorageError as error:
            if not error.retryable or self._policy.retry_for <= 0:
                raise
            budget.begin()  # not begun where it failed before its turn
            first: StorageError | None = error

        async def retry() -> T:
            nonlocal first
            if first is not None:  # hands tenacity the attempt that was made outside of it
                failed, first = first, None
                raise failed
            if work.writes and not self.may_write():
                raise Unsupported(
                    f'{self._adapter.url}: "{work.path}" is not tried again: this run may no longer write',
                    url=self._adapter.url,
                    path=work.path,
                )
            with self._counting:
                self._requests.retries += 1
            return await self._renewed(work, budget)

        def over(state: RetryCallState) -> bool:
            return state.upcoming_sleep == float("inf")

        async def sleep(seconds: float) -> None:
            await sleeping(self._sleep, seconds, self._drain)

        retrying = AsyncRetrying(
            sleep=sleep,
            wait=lambda state: self._wait(state, budget.left or 0.0),
            stop=over,
            retry=retry_if_exception(lambda e: isinstance(e, StorageError) and e.retryable),
            reraise=True,
        )
        return await retrying(retry)

    def once_blocking(
        self, puts: Sequence[Put], make: Callable[[], Attempted], ended: Callable[[], bool]
    ) -> Attempted:
        """One attempt of each put, blocking, from any thread; None for each under a pause or `max_rate`.

        `make` makes the puts, unless `ended()` is true by then.
        """
        attempted: Attempted = [None] * len(puts)
        turn = self.limiter.acquire_blocking(ended)
        if turn is None:
            return attempted
        seen = self._renewals
        outcome, wait, good, written = Outcome.NONE, None, 0, 0
        try:
            attempted = make()
            for put, result in zip(puts, attempted, strict=True):
                if isinstance(result, str):
                    good += 1
                    written += len(put[1])
                elif isinstance(result, Throttled):
                    outcome, wait = Outcome.THROTTLED, result.retry_after
                elif result is not None:
                    good += not result.retryable
                    if isinstance(result, Expired | Denied):
                        result.generation = seen
        finally:
            self.limiter.release(turn, outcome, good=good, retry_after=wait)
            tried = len(attempted) - attempted.count(None)
            errors = [result for result in attempted if isinstance(result, StorageError)]
            failed = sum(not isinstance(error, _ANSWERS) for error in errors)
            with self._counting:
                self._keyed += tried
                self._requests.put += tried
                self._requests.put_failed += failed
                self._requests.throttled += outcome is Outcome.THROTTLED
                self._requests.bytes_written += written
            if tried > len(errors):
                self._report(None, self.limiter.drain)
            for error in errors:
                self._report(error, self.limiter.drain)
        return attempted

    def reads_blocking(
        self,
        reads: Sequence[tuple[str, int]],
        make: Callable[[], Sequence[Blob | None]],
        ended: Callable[[], bool],
    ) -> Sequence[Blob | None]:
        """One attempt of each read, as `once_blocking`; what fails is told by the attempt that follows."""
        found: Sequence[Blob | None] = [None] * len(reads)
        turn = self.limiter.acquire_blocking(ended)
        if turn is None:
            return found
        try:
            found = make()
        finally:
            good = [blob for blob in found if blob is not None]
            self.limiter.release(turn, Outcome.NONE, good=len(good), retry_after=None)
            with self._counting:
                self._keyed += len(reads)
                self._requests.get += len(reads)
                self._requests.bytes_read += sum(len(blob.data) for blob in good)
        return found

    @property
    def is_drained(self) -> bool:
        """Whether a drain may end requests, which those of plain threads do not heed."""
        return self._drain is not None

    def _report(self, result: StorageError | None, drain: Drain | None) -> None:
        """Reports the result of a write to the drain."""
        if drain is not None:
            drain.attempted(result, self._clock())

    async def once(self, work: Work[T], budget: Budget | None = None) -> T:
        """One attempt. Raises `Deferred` where a drain comes before it begins; for lists and reads, also
        while they are under way."""
        # A read of unknown size gets ten times the deadline.
        extra = self._policy.deadline * 9 if work.size is None else work.size / self._policy.slowest
        url, timeout = self._adapter.url, self._policy.deadline + extra
        turn = await self.limiter.acquire(budget)
        if budget is not None:
            budget.begin()
        drain = self._drain
        outcome, wait = Outcome.NONE, None
        try:
            if drain is not None:
                drain.check()
            with self._counting:
                self._count(work.counter)
            deadline = asyncio.timeout(timeout)
            try:
                async with deadline:
                    if drain is None or (work.writes and not drain.cuts):
                        result = await work.make()
                    else:
                        result = await drain.race(_awaited(work.make), writes=work.writes)
            except TimeoutError:
                if not deadline.expired():
                    raise
                raise Unavailable(
                    f'{url}: no answer within {timeout:.0f} s for "{work.path}"',
                    url=url,
                    path=work.path,
                    code="Deadline",
                    advice=UNREACHED,
                ) from None
            outcome = Outcome.GOOD
            if work.writes:
                self._report(None, drain)
            return result
        except StorageError as error:
            if isinstance(error, Throttled):
                outcome, wait = Outcome.THROTTLED, error.retry_after
            elif not error.retryable:
                outcome = Outcome.GOOD
            if work.writes:
                self._report(error, drain)
            with self._counting:
                self._requests.throttled += outcome is Outcome.THROTTLED
                if not isinstance(error, _ANSWERS):
                    self._count(f"{work.counter}_failed")
            raise
        finally:
            self.limiter.release(turn, outcome, retry_after=wait)

    # -- when

    @property
    def _drain(self) -> Drain | None:
        """The drain that ends the waits of the current request."""
        return None if is_undrained() else self.limiter.drain

    def _wait(self, state: RetryCallState, left: float) -> float:
        """Seconds until the next attempt; infinity where fewer are `left`."""
        policy = self._policy
        most = min(policy.longest, policy.first * 2 ** min(state.attempt_number, 30))
        wait = self._rng.uniform(0.0, most)
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, Throttled) and error.retry_after is not None:
            # Jitter on top: all clients were given the same time.
            wait = min(wait + error.retry_after, left)
        wait = max(wait, self._out_of_budget())
        return wait if left > 0 and wait <= left else float("inf")

    def _out_of_budget(self) -> float:
        """Seconds to wait because the retry budget is used up; 0 while it is not."""
        policy = self._policy
        with self._counting:
            if self._requests.retries < policy.spare + policy.share * self._keyed:
                return 0.0
            now = self._clock()
            self._last_spare = max(now, self._last_spare + policy.longest)
            return self._last_spare - now

    async def _renewed(self, work: Work[T], budget: Budget, failed: StorageError | None = None) -> T:
        """One attempt, and another one with renewed credentials where they have expired."""
        seen = self._renewals
        if isinstance(failed, Expired | Denied) and failed.generation is not None:
            seen = failed.generation
        try:
            if failed is not None:
                raise failed
            return await self.once(work, budget)
        except (Expired, Denied) as error:
            if not isinstance(self._adapter, Renewable):
                raise
            async with self._renewing:
                if isinstance(error, Denied) and self._renewals == seen and not self._is_outdated():
                    raise
                if self._renewals == seen:  # one renewal serves all that failed together
                    await self._adapter.renew()
                    self._renewals += 1
            with self._counting:
                self._requests.retries += 1
            return await self.once(work, budget)

    def _is_outdated(self) -> bool:
        return isinstance(self._adapter, FromFiles) and self._adapter.outdated()

    def _count(self, name: str) -> None:
        setattr(self._requests, name, getattr(self._requests, name) + 1)


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
