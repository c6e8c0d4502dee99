"""A store in bad weather: adapters that fail as a script of rules says, the same way for the same seed.

For proving what a run promises, by our tests and by whoever embeds metaferry: nothing in production
opens it. One :class:`Faults` is the weather of one run; it wraps every adapter that the run opens,
numbers their calls in one sequence, and records them, so that a test can count the calls of a clean
run and then spoil each of them in turn. It never waits by itself and never draws from a shared
generator: time comes from the injected clock and sleep, chance from the seed and the call's number.

A wrapped adapter shows `put_blocking` exactly where the one behind it has it.
"""

from __future__ import annotations

import asyncio
import errno
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from re import search
from typing import Any, Final, Literal, TypeVar

from metaferry.errors import Corrupt, StorageError
from metaferry.storage.errors import Failure, Operation, errno_failure, storage_error
from metaferry.storage.keys import md5_hex
from metaferry.storage.protocol import (
    ANYTHING,
    Adapter,
    Blob,
    Capabilities,
    Direct,
    Page,
    Precondition,
    PutResult,
)
from metaferry.storage.retry.attempts import Renewable

T = TypeVar("T")
When = Literal["before", "after"]


class Killed(BaseException):
    """The process is gone, as after SIGKILL: no error of ours, so that nobody handles it.

    From the call that raised it on, no call of the same :class:`Faults` reaches a store.
    """


# -- what can go wrong


@dataclass(frozen=True, slots=True)
class Refusal:
    """The call fails with the error that `failure` means; with `lost` its work was done all the same.

    `until_renewed`: `renew()` ends it for good, as new credentials end `Expired`.
    """

    failure: Failure
    lost: bool = False
    until_renewed: bool = False


@dataclass(frozen=True, slots=True)
class Delay:
    """The answer takes this many seconds more, by the injected sleep."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Flip:
    """One bit of the content changes and nobody is told: what a read gives, or what a put stores.

    An adapter cannot know; the answer to the put speaks of the bytes that were sent. Calls without
    content go on unharmed.
    """


@dataclass(frozen=True, slots=True)
class Kill:
    """The process ends, before the call's work or after it."""

    when: When = "before"


@dataclass(frozen=True, slots=True)
class Meddle:
    """Somebody else does something to the store behind, before the call's work or after it.

    `act` is awaited with the bare adapter, on the event loop of the run.
    """

    act: Callable[[Adapter], Awaitable[None]]
    when: When = "before"


Fault = Refusal | Delay | Flip | Kill | Meddle

SLOW_DOWN: Final = Refusal(Failure(503, "SlowDown"))
TOO_MANY: Final = Refusal(Failure(429, "TooManyRequests"))
UNAVAILABLE: Final = Refusal(Failure(500, "InternalError"))
RESET: Final = Refusal(Failure(code="ConnectionResetError"))
LOST_REPLY: Final = Refusal(Failure(code="ConnectionResetError"), lost=True)
#: What arrived is shorter than it says, or fails its checksum; the adapter saw it.
TRUNCATED: Final = Refusal(Failure(code="IncompleteBody"))
CORRUPTED: Final = Refusal(Failure(code="ChecksumMismatch", kind=Corrupt))
DENIED: Final = Refusal(Failure(403, "AccessDenied"))
EXPIRED: Final = Refusal(Failure(400, "ExpiredToken"), until_renewed=True)
#: The device is full, as the local adapter tells it.
NO_SPACE: Final = Refusal(errno_failure(OSError(errno.ENOSPC, "")))


#: Kinds of calls, for rules.
LISTS: Final[frozenset[Operation]] = frozenset(("list",))
READS: Final[frozenset[Operation]] = frozenset(("read",))
PUTS: Final[frozenset[Operation]] = frozenset(("put",))
DELETES: Final[frozenset[Operation]] = frozenset(("delete",))
EVERY: Final = LISTS | READS | PUTS | DELETES


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a fault strikes: a call has to pass every condition. The defaults pass every call.

    operations, path: the kind of call, and a regular expression found in its key (for a listing:
    in its prefix). begin, end: seconds since the `Faults` were made, `end` excluded. number: only
    the call with this number. after: so many calls that pass are let through first. times: at most
    so many are struck. chance: the share that is struck, drawn from the seed.
    """

    fault: Fault
    operations: frozenset[Operation] = EVERY
    path: str = ""
    begin: float = 0.0
    end: float = float("inf")
    number: int | None = None
    after: int = 0
    times: int | None = None
    chance: float = 1.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an adapter. `path` is the key, or the prefix of a listing; `fault` is what struck.

    `age` is when it began, in seconds since the `Faults` were made.
    """

    number: int
    age: float
    url: str
    operation: Operation
    path: str
    direct: bool  # from a plain thread, through `put_blocking`
    fault: Fault | None = None


def storm(seconds: float, *, share: float = 0.2, retry_after: float | None = None) -> tuple[Rule, ...]:
    """Every request is refused for so many seconds, then a share of them: 503 and 429 in turn.

    `retry_after` is what the refusals ask for, in seconds; None where the store asks for nothing.
    """
    refusals = [
        replace(refusal, failure=replace(refusal.failure, retry_after=retry_after))
        for refusal in (SLOW_DOWN, TOO_MANY)
    ]
    return (
        Rule(fault=refusals[0], end=seconds, chance=0.5),
        Rule(fault=refusals[1], end=seconds),
        Rule(fault=refusals[0], begin=seconds, chance=share / 2),
        Rule(fault=refusals[1], begin=seconds, chance=share / 2),
    )


# -- the weather of one run


class Faults:
    """Rules over one sequence of calls; the first rule that strikes a call decides. Safe from threads.

    `wrap` is what `RuntimeDeps.wrap` and `open_storage` take. `clock` is monotonic seconds.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rules = tuple(rules)
        self._seed = seed
        self._clock = clock
        self._sleep = sleep
        self._began = clock()
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._passed = [0] * len(self._rules)
        self._struck = [0] * len(self._rules)
        self._killed = False
        self._renewals = 0

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call so far, by number. Those that a dead process would not have made are not in it."""
        with self._lock:
            return tuple(self._calls)

    @property
    def killed(self) -> bool:
        return self._killed

    @property
    def renewals(self) -> int:
        """How often credentials were renewed, over all adapters."""
        return self._renewals

    def wrap(self, adapter: Adapter) -> FaultyAdapter:
        """The adapter in this weather, with a `put_blocking` exactly if it has one itself."""
        if isinstance(adapter, Direct):
            return DirectFaultyAdapter(adapter, self)
        return FaultyAdapter(adapter, self)

    # -- for the wrapped adapters

    def begin(self, url: str, operation: Operation, path: str, direct: bool) -> Call:
        """Numbers and records a call, with the fault that strikes it. Killed when there is no process."""
        with self._lock:
            if self._killed:
                raise Killed
            call = Call(len(self._calls), self._clock() - self._began, url, operation, path, direct)
            call = replace(call, fault=self._strike(call))
            self._calls.append(call)
            if isinstance(call.fault, Kill) and call.fault.when == "before":
                self._die()
            return call

    def end(self, call: Call) -> None:
        """The call's work is done: whether its caller still lives."""
        with self._lock:
            if self._killed or isinstance(call.fault, Kill):
                self._die()

    def renewed(self) -> None:
        with self._lock:
            if self._killed:
                raise Killed
            self._renewals += 1

    async def wait(self, seconds: float) -> None:
        await self._sleep(seconds)

    def flipped(self, call: Call, data: bytes) -> bytes:
        """The data with one bit changed; which one depends on the seed and the call."""
        if not data:
            return data
        bit = self._chance(call.number, "bit").randrange(8 * len(data))
        spoiled = bytearray(data)
        spoiled[bit // 8] ^= 1 << (bit % 8)
        return bytes(spoiled)

    def _strike(self, call: Call) -> Fault | None:
        for index, rule in enumerate(self._rules):
            if not _speaks_of(rule, call):
                continue
            if isinstance(rule.fault, Refusal) and rule.fault.until_renewed and self._renewals:
                continue
            self._passed[index] += 1
            if self._passed[index] <= rule.after:
                continue
            if rule.times is not None and self._struck[index] >= rule.times:
                continue
            if rule.chance < 1 and self._chance(call.number, index).random() >= rule.chance:
                continue
            self._struck[index] += 1
            return rule.fault
        return None

    def _chance(self, number: int, what: object) -> random.Random:
        """A generator for one decision, so that no decision depends on how many went before."""
        return random.Random(f"{self._seed} {number} {what}")

    def _die(self) -> None:
        self._killed = True
        raise Killed


def _speaks_of(rule: Rule, call: Call) -> bool:
    return (
        call.operation in rule.operations
        and rule.begin <= call.age < rule.end
        and (rule.number is None or rule.number == call.number)
        and (not rule.path or search(rule.path, call.path) is not None)
        and not (isinstance(rule.fault, Flip) and call.operation not in READS | PUTS)
    )


class FaultyAdapter:
    """One adapter in the weather of `faults`; made by `Faults.wrap`."""

    def __init__(self, inner: Adapter, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._inner!r})"

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        call = self._faults.begin(self.url, "list", prefix, False)
        return await self._through(
            call, lambda: self._inner.list_page(prefix, start_after=start_after, cursor=cursor)
        )

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        call = self._faults.begin(self.url, "read", path, False)
        blob = await self._through(call, lambda: self._inner.read(path, start, end, version=version))
        if isinstance(call.fault, Flip):
            return replace(blob, data=self._faults.flipped(call, blob.data))
        return blob

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        call = self._faults.begin(self.url, "put", path, False)
        stored = self._stored(call, data)
        put_result = await self._through(call, lambda: self._inner.put(path, stored, only_if=only_if))
        return self._answered(call, put_result, data)

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        call = self._faults.begin(self.url, "delete", path, False)
        await self._through(call, lambda: self._inner.delete(path, only_if=only_if))

    async def renew(self) -> None:
        """New credentials: what fails until then no longer does."""
        if isinstance(self._inner, Renewable):
            await self._inner.renew()
        self._faults.renewed()

    async def close(self) -> None:
        """Lets go of what the adapter behind holds, after a kill too: that process is still this one."""
        await self._inner.close()

    # -- a call, and what strikes it

    async def _through(self, call: Call, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._loop = asyncio.get_running_loop()
        if (first := self._before(call)) is not None:
            await first
        try:
            return await work()
        finally:  # an error is an answer too: it can be lost, and its caller can die
            if (then := self._after(call)) is not None:
                await then

    def _before(self, call: Call) -> Awaitable[None] | None:
        """Raises what the call is to fail with; else what has to be awaited before its work."""
        match call.fault:
            case Refusal(lost=False):
                raise self._error(call, call.fault)
            case Delay(seconds):
                return self._faults.wait(seconds)
            case Meddle(act, "before"):
                return act(self._inner)
        return None

    def _after(self, call: Call) -> Awaitable[None] | None:
        """The same for the time between the work and its answer."""
        self._faults.end(call)
        match call.fault:
            case Refusal():
                raise self._error(call, call.fault)
            case Meddle(act, "after"):
                return act(self._inner)
        return None

    def _error(self, call: Call, refusal: Refusal) -> StorageError:
        return storage_error(
            refusal.failure, store="generic", url=self.url, operation=call.operation, path=call.path
        )

    def _stored(self, call: Call, data: bytes) -> bytes:
        return self._faults.flipped(call, data) if isinstance(call.fault, Flip) else data

    def _answered(self, call: Call, put_result: PutResult, data: bytes) -> PutResult:
        return put_result._replace(md5=md5_hex(data)) if isinstance(call.fault, Flip) else put_result


class DirectFaultyAdapter(FaultyAdapter):
    """The same over an adapter whose puts can be made from plain threads."""

    def __init__(self, inner: Adapter, faults: Faults) -> None:
        super().__init__(inner, faults)
        if not isinstance(inner, Direct):
            raise TypeError(f"{inner!r} has no put_blocking")
        self._direct = inner

    def put_blocking(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        call = self._faults.begin(self.url, "put", path, True)
        stored = self._stored(call, data)
        self._wait_for(self._before(call))
        try:
            put_result = self._direct.put_blocking(path, stored, only_if=only_if)
        finally:
            self._wait_for(self._after(call))
        return self._answered(call, put_result, data)

    def _wait_for(self, work: Awaitable[None] | None) -> None:
        """On the loop that the adapter behind lives on; on one of its own before there is one."""
        if work is None:
            return

        async def wait() -> None:
            await work

        if self._loop is None or self._loop.is_closed():
            asyncio.run(wait())
        else:
            asyncio.run_coroutine_threadsafe(wait(), self._loop).result()
