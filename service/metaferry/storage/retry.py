"""The one retry layer: a `Storage` over an adapter that makes single attempts.

Passing failures are tried again with full jitter until `retry_for` seconds are used up; permanent
ones are raised at once. Each attempt has a deadline of its own. A put whose answer may have been
lost is settled by reading back: bytes that equal ours are our own put. Expired credentials are
renewed once, then stop the run. Nothing else in the program retries, and the libraries' own retries
are switched off, so the counts in :class:`Requests` are the requests that went out.

However bad the weather, retries stay in proportion: beyond two for every request that was asked for,
they only trickle. A put from a thread (`put_now`) is one attempt and no more; what it met is handed
to `put`, which goes on from there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from metaferry.errors import (
    Changed,
    Conflict,
    Expired,
    NotFound,
    StorageError,
    Throttled,
    Unavailable,
    Unsupported,
)
from metaferry.storage.contract import (
    ABSENT,
    ANYTHING,
    Adapter,
    Batched,
    Blob,
    Direct,
    Entry,
    Level,
    Levelled,
    Page,
    Precondition,
    Put,
    Requests,
    Stamp,
    Traits,
)
from metaferry.storage.limiter import Answer, Limiter
from metaferry.storage.rates import RateHistory
from metaferry.storage.translate import UNREACHED

T = TypeVar("T")
log = logging.getLogger(__name__)

#: What became of a few puts; an alias, since the class below has a method called `list`.
Met = Sequence[str | StorageError | None]

#: What a store says of its objects, where a request as such went well.
_ANSWERS = (NotFound, Conflict, Changed)

#: The counter in `Requests` an attempt belongs to.
_Counter = Literal["list", "get", "put", "delete"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How long and how patiently. All times in seconds, `slowest` in bytes a second.

    `retry_for` bounds all attempts of one request together; 0 tries once. `deadline` bounds one
    attempt, plus the time its bytes take at `slowest`. Waits are drawn from [0, first * 2**n],
    at most `longest`, never below what the store asked for in Retry-After. Beyond `spare` retries
    and `share` more for every request, a retry waits until `longest` after the one before it.
    """

    retry_for: float = 300.0
    deadline: float = 60.0
    slowest: float = 100_000.0
    first: float = 0.2
    longest: float = 20.0
    spare: int = 10
    share: float = 2.0


@runtime_checkable
class Renewable(Protocol):
    """An adapter that can look its credentials up again."""

    async def renew(self) -> None: ...


class Retrying:
    """`Storage` over `adapter`. `clock` is monotonic seconds; `sleep`, `rng` are injected by tests."""

    def __init__(
        self,
        adapter: Adapter,
        policy: Policy | None = None,
        *,
        concurrency: int = 64,
        max_rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._adapter = adapter
        self._direct = adapter if isinstance(adapter, Direct) else None
        self._batched = adapter if isinstance(adapter, Batched) else None
        self._policy = policy if policy is not None else Policy()
        self._clock = clock
        self._sleep = sleep
        self._rng = rng if rng is not None else random.Random()
        self._limiter = Limiter(concurrency, clock=clock, sleep=sleep, max_rate=max_rate)
        self._requests = Requests()
        self._elsewhere = RateHistory(1.0, (), ())
        self._counting = threading.Lock()
        self._asked = 0  # requests without their retries
        self._last_spare = float("-inf")
        self._honours_conditions = True
        self._may_write: Callable[[], bool] = lambda: True
        self._renewals = 0
        self._renewing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Retrying({self._adapter!r})"

    @property
    def adapter(self) -> Adapter:
        """What stands behind; for tests and wrappers."""
        return self._adapter

    @property
    def url(self) -> str:
        return self._adapter.url

    @property
    def traits(self) -> Traits:
        traits = self._adapter.traits
        return traits if self._honours_conditions else replace(traits, conditional=False)

    @property
    def requests(self) -> Requests:
        return self._requests

    @property
    def rates(self) -> RateHistory:
        return self._limiter.rates.history() + self._elsewhere

    def absorb(self, requests: Requests, rates: RateHistory) -> None:
        with self._counting:
            self._requests = self._requests + requests
            self._elsewhere = self._elsewhere + rates

    @property
    def direct(self) -> bool:
        return self._direct is not None

    @property
    def window(self) -> int:
        return self._limiter.allowed

    async def list(self, prefix: str = "", *, start_after: str | None = None) -> AsyncIterator[list[Entry]]:
        """Every key that begins with `prefix`, a page at a time; empty pages are not given out."""
        cursor: Any | None = None
        while True:
            page = await self._page(prefix, start_after, cursor)
            if page.entries:
                yield page.entries
            if page.cursor is None:
                return
            cursor = page.cursor

    async def list_level(self, prefix: str) -> Level | None:
        adapter = self._adapter
        if not isinstance(adapter, Levelled):
            return None
        return await self._attempts("list", 0, lambda: adapter.list_level(prefix), prefix)

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        wanted = None if end is None else max(0, end - start)
        blob = await self._attempts(
            "get", wanted, lambda: self._adapter.read(path, start, end, version=version), path
        )
        with self._counting:
            self._requests.bytes_read += len(blob.data)
        return blob

    async def put(
        self,
        path: str,
        data: bytes,
        *,
        only_if: Precondition = ANYTHING,
        failed: StorageError | None = None,
    ) -> Stamp:
        if not self._honours_conditions and only_if is not ANYTHING:
            await self._require(path, only_if)
            only_if = ANYTHING
        try:
            stamp = await self._attempts(
                "put", len(data), lambda: self._adapter.put(path, data, only_if=only_if), path, failed
            )
        except (Conflict, Unavailable):
            # Even a first attempt may be the second at the server: HTTP clients send a PUT again
            # when a kept-alive connection turns out to be closed.
            settled = await self._settled(path, data)
            if settled is None:
                raise
            log.debug("%s: the answer to a put of %r was lost; it is in place", self.url, path)
            stamp = settled
        with self._counting:
            self._requests.bytes_written += len(data)
        return stamp

    def put_now(self, puts: Sequence[Put], *, ended: Callable[[], bool] = lambda: False) -> Met:
        met: Met = [None] * len(puts)
        turn = None if self._direct is None else self._limiter.enter_now()
        if turn is None or self._direct is None:
            return met
        seen = self._renewals
        answer, wait, good, written = Answer.NONE, None, 0, 0
        try:
            if not self._honours_conditions and any(put[2] is not ANYTHING for put in puts):
                return met  # what is there has to be looked at first
            met = (
                _one_by_one(self._direct, puts, ended)
                if self._batched is None
                else self._batched.put_all_now(puts, ended=ended)
            )
            for put, result in zip(puts, met, strict=True):
                if isinstance(result, str):
                    good += 1
                    written += len(put[1])
                elif isinstance(result, Throttled):
                    answer, wait = Answer.SLOWER, result.retry_after
                elif result is not None:
                    good += not result.retryable
                    if isinstance(result, Expired):
                        result.generation = seen
        finally:
            self._limiter.leave(turn, answer, good=good, retry_after=wait)
            asked = len(met) - met.count(None)
            errors = [result for result in met if isinstance(result, StorageError)]
            failed = sum(not isinstance(error, _ANSWERS) for error in errors)
            with self._counting:
                self._asked += asked
                self._requests.put += asked
                self._requests.put_failed += failed
                self._requests.throttled += answer is Answer.SLOWER
                self._requests.bytes_written += written
        return met

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        try:
            await self._attempts("delete", 0, lambda: self._adapter.delete(path, only_if=only_if), path)
        except Conflict:
            if not await self._gone(path):
                raise

    async def probe_conditions(self, path: str) -> bool:
        """Whether the store honours `only_if`, or takes the header and overwrites all the same.

        Some stores that speak S3 do, and nothing in their answers tells. Writes and deletes `path`,
        which has to be a name that nobody uses; two puts and a delete. Where they are not honoured,
        `traits.conditional` is False from here on, and preconditions are checked just before.
        """
        if not self.traits.conditional:
            return False
        try:
            await self.put(path, b"1", only_if=ABSENT)
            await self.put(path, b"2", only_if=ABSENT)
        except Conflict:
            pass
        else:
            self._honours_conditions = False
            log.warning("%s: this store ignores conditions on writes; they are checked just before", self.url)
        finally:
            await self.delete(path)
        return self.traits.conditional

    def without_conditions(self) -> None:
        """What `probe_conditions` found out earlier: this store ignores conditions."""
        self._honours_conditions = False

    def writes_while(self, ours: Callable[[], bool]) -> None:
        self._may_write = ours

    async def close(self) -> None:
        await self._adapter.close()

    # -- attempts

    async def _page(self, prefix: str, start_after: str | None, cursor: Any | None) -> Page:
        return await self._attempts(
            "list",
            0,
            lambda: self._adapter.list_page(prefix, start_after=start_after, cursor=cursor),
            prefix,
        )

    async def _attempts(
        self,
        counter: _Counter,
        size: int | None,
        work: Callable[[], Awaitable[T]],
        path: str,
        failed: StorageError | None = None,
    ) -> T:
        """All attempts of one request; `failed` is what a first one met that was made elsewhere."""
        started = self._clock()
        try:
            if failed is None:
                with self._counting:
                    self._asked += 1
            return await self._renewed(counter, size, work, path, failed)
        except StorageError as error:
            if not error.retryable or self._policy.retry_for <= 0:
                raise
            first: StorageError | None = error

        async def again() -> T:
            nonlocal first
            if first is not None:  # tenacity sees the attempt that was made outside of it
                failed, first = first, None
                raise failed
            if counter in ("put", "delete") and not self._may_write():
                raise Unsupported(
                    f'{self.url}: "{path}" is not tried again: this run may not write any more',
                    url=self.url,
                    path=path,
                )
            with self._counting:
                self._requests.retries += 1
            return await self._renewed(counter, size, work, path)

        def over(state: RetryCallState) -> bool:
            return self._clock() - started + state.upcoming_sleep > self._policy.retry_for

        retrying = AsyncRetrying(
            sleep=self._sleep,
            wait=self._wait,
            stop=over,
            retry=retry_if_exception(lambda e: isinstance(e, StorageError) and e.retryable),
            reraise=True,
        )
        return await retrying(again)

    def _wait(self, state: RetryCallState) -> float:
        policy = self._policy
        most = min(policy.longest, policy.first * 2 ** min(state.attempt_number, 30))
        wait = self._rng.uniform(0.0, most)
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, Throttled) and error.retry_after is not None:
            # Jitter on top: everybody was told the same time.
            wait += min(error.retry_after, policy.retry_for)
        return max(wait, self._out_of_budget())

    def _out_of_budget(self) -> float:
        """Seconds to wait more because there have been too many retries; 0 while there have not."""
        policy = self._policy
        with self._counting:
            if self._requests.retries < policy.spare + policy.share * self._asked:
                return 0.0
            now = self._clock()
            self._last_spare = max(now, self._last_spare + policy.longest)
            return self._last_spare - now

    async def _renewed(
        self,
        counter: _Counter,
        size: int | None,
        work: Callable[[], Awaitable[T]],
        path: str,
        failed: StorageError | None = None,
    ) -> T:
        """One attempt; and one more with renewed credentials, if those in use have expired."""
        seen = self._renewals
        if isinstance(failed, Expired) and failed.generation is not None:
            seen = failed.generation
        try:
            if failed is not None:
                raise failed
            return await self._once(counter, size, work, path)
        except Expired:
            if not isinstance(self._adapter, Renewable):
                raise
            async with self._renewing:
                if self._renewals == seen:  # one renewal serves all that failed together
                    await self._adapter.renew()
                    self._renewals += 1
            with self._counting:
                self._requests.retries += 1
            return await self._once(counter, size, work, path)

    async def _once(
        self, counter: _Counter, size: int | None, work: Callable[[], Awaitable[T]], path: str
    ) -> T:
        # A read to an end that nobody knows gets ten times the deadline.
        extra = self._policy.deadline * 9 if size is None else size / self._policy.slowest
        turn = await self._limiter.enter()
        answer, wait = Answer.NONE, None
        try:
            with self._counting:
                setattr(self._requests, counter, getattr(self._requests, counter) + 1)
            deadline = asyncio.timeout(self._policy.deadline + extra)
            try:
                async with deadline:
                    result = await work()
            except TimeoutError:
                if not deadline.expired():
                    raise
                raise Unavailable(
                    f'{self.url}: no answer within {self._policy.deadline + extra:.0f} s for "{path}"',
                    url=self.url,
                    path=path,
                    code="Deadline",
                    advice=UNREACHED,
                ) from None
            answer = Answer.GOOD
            return result
        except Throttled as error:
            answer, wait = Answer.SLOWER, error.retry_after
            with self._counting:
                self._requests.throttled += 1
                self._count_failure(counter)
            raise
        except StorageError as error:
            answer = Answer.NONE if error.retryable else Answer.GOOD
            if not isinstance(error, _ANSWERS):
                with self._counting:
                    self._count_failure(counter)
            raise
        finally:
            self._limiter.leave(turn, answer, retry_after=wait)

    def _count_failure(self, counter: _Counter) -> None:
        name = f"{counter}_failed"
        setattr(self._requests, name, getattr(self._requests, name) + 1)

    # -- without conditions

    async def _require(self, path: str, only_if: Precondition) -> None:
        """The best that can be done where the store itself does not check."""
        try:
            found: str | None = (await self.read(path, 0, 1)).token
        except NotFound as error:
            if not error.path:
                raise
            found = None
        if found != (only_if if isinstance(only_if, str) else None):
            raise Conflict(f'{self.url}: somebody else wrote "{path}"', url=self.url, path=path)

    # -- lost answers

    async def _settled(self, path: str, data: bytes) -> Stamp | None:
        """The stamp of what is there, if its bytes are ours; None if not, or if nobody can tell."""
        try:
            blob = await self._once(
                "get", len(data), lambda: self._adapter.read(path, 0, len(data) + 1), path
            )
        except StorageError as error:
            log.debug("%s: reading %r back failed: %s", self.url, path, error.code)
            return None
        if blob.data != data or blob.size != len(data):
            return None
        return Stamp(blob.token, hashlib.md5(data, usedforsecurity=False).hexdigest())

    async def _gone(self, path: str) -> bool:
        """Whether a delete that met a conflict met its own earlier success."""
        try:
            await self._once("get", 0, lambda: self._adapter.read(path, 0, 1), path)
        except NotFound:
            return True
        except StorageError:
            return False
        return False


def _one_by_one(direct: Direct, puts: Sequence[Put], ended: Callable[[], bool]) -> Met:
    """What `Batched.put_all_now` does, for an adapter that has only `put_now`."""
    met: list[str | StorageError | None] = [None] * len(puts)
    for n, (path, data, only_if, _) in enumerate(puts):
        if ended():
            break
        try:
            met[n] = direct.put_now(path, data, only_if=only_if).token
        except (Throttled, Expired) as error:
            met[n] = error
            break  # the others wait for the pause that it wants, or for credentials
        except StorageError as error:
            met[n] = error
    return met
