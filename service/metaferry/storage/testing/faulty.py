"""A store that fails on purpose: adapters that inject faults by rules, reproducibly for one seed.

For proving what a run promises, in our tests and in those of programs that embed metaferry; never used
in production. One :class:`Faults` belongs to one run: it wraps every adapter that the run opens, numbers
their calls in one sequence and records them, so that a test can count the calls of a clean run and then
make each of them fail in turn. Nothing depends on real time or global randomness: time comes from the
injected clock and sleep, chance from the seed and the number of the call.

A wrapped adapter has `put_blocking` exactly where the one behind it has it.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from re import search
from typing import Any, TypeVar

from metaferry.errors import StorageError, Unsupported
from metaferry.storage.errors import Operation, storage_error
from metaferry.storage.facts.model import Described, Describing, Fact
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
from metaferry.storage.retry.attempts import FromFiles, Renewable
from metaferry.storage.testing.rules import PUTS, READS, Delay, Fault, Flip, Kill, Meddle, Refusal, Rule

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone, as after SIGKILL. A BaseException, so that no code under test handles it.

    From then on, no call of the same :class:`Faults` reaches a store.
    """


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an adapter. `path` is the key, or the prefix of a listing; `fault` the one that struck.

    `age` is when it began, in seconds since the `Faults` were made.
    """

    number: int
    age: float
    url: str
    operation: Operation
    path: str
    direct: bool  # from a plain thread, through `put_blocking`
    fault: Fault | None = None


class Faults:
    """Rules over one sequence of calls; the first rule that strikes a call decides. Thread-safe.

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
        """Every call so far, by number, without those made after a kill."""
        with self._lock:
            return tuple(self._calls)

    @property
    def killed(self) -> bool:
        return self._killed

    @property
    def renewals(self) -> int:
        """How often credentials were renewed, by all adapters together."""
        return self._renewals

    def wrap(self, adapter: Adapter) -> FaultyAdapter:
        """The adapter with these faults; it has `put_blocking` if `adapter` has."""
        if isinstance(adapter, Direct):
            return DirectFaultyAdapter(adapter, self)
        return FaultyAdapter(adapter, self)

    # -- for the wrapped adapters

    def begin(self, url: str, operation: Operation, path: str, direct: bool) -> Call:
        """Numbers and records a call, with the fault that strikes it. Raises `Killed` after a kill."""
        with self._lock:
            if self._killed:
                raise Killed
            call = Call(len(self._calls), self._clock() - self._began, url, operation, path, direct)
            call = replace(call, fault=self._strike(call))
            self._calls.append(call)
            if isinstance(call.fault, Kill) and call.fault.when == "before":
                self._kill()
            return call

    def end(self, call: Call) -> None:
        """The call's work is done. Raises `Killed` where its caller is gone."""
        with self._lock:
            if self._killed or isinstance(call.fault, Kill):
                self._kill()

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
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        return bytes(changed)

    def _strike(self, call: Call) -> Fault | None:
        for index, rule in enumerate(self._rules):
            if not _matches(rule, call):
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
        """A generator for one decision, so that it depends on no decision before it."""
        return random.Random(f"{self._seed} {number} {what}")

    def _kill(self) -> None:
        self._killed = True
        raise Killed


def _matches(rule: Rule, call: Call) -> bool:
    return (
        call.operation in rule.operations
        and rule.begin <= call.age < rule.end
        and (rule.number is None or rule.number == call.number)
        and (not rule.path or search(rule.path, call.path) is not None)
        and not (isinstance(rule.fault, Flip) and call.operation not in READS | PUTS)
    )


class FaultyAdapter:
    """An adapter with injected faults; made by `Faults.wrap`."""

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

    # -- facts of objects; the adapter behind may know none

    @property
    def listed_facts(self) -> frozenset[Fact]:
        return self._inner.listed_facts if isinstance(self._inner, Describing) else frozenset()

    @property
    def has_tags(self) -> bool:
        return isinstance(self._inner, Describing) and self._inner.has_tags

    def list_facts(self, *, tags: bool) -> None:
        if isinstance(self._inner, Describing):
            self._inner.list_facts(tags=tags)

    async def describe(self, path: str) -> Described:
        call = self._faults.begin(self.url, "read", path, False)
        return await self._through(call, lambda: self._describing().describe(path))

    async def tags(self, path: str) -> Mapping[str, str]:
        call = self._faults.begin(self.url, "tags", path, False)
        return await self._through(call, lambda: self._describing().tags(path))

    def _describing(self) -> Describing:
        if not isinstance(self._inner, Describing):
            raise Unsupported(f"{self.url}: the store knows no facts of objects", url=self.url)
        return self._inner

    def outdated(self) -> bool:
        """Whether the adapter behind would find other credentials."""
        return isinstance(self._inner, FromFiles) and self._inner.outdated()

    async def renew(self) -> None:
        """Renews the credentials, which ends the faults that last until then."""
        if isinstance(self._inner, Renewable):
            await self._inner.renew()
        self._faults.renewed()

    async def close(self) -> None:
        """Closes the adapter behind, after a kill too: the process of the test goes on."""
        await self._inner.close()

    # -- a call, and what strikes it

    async def _through(self, call: Call, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._loop = asyncio.get_running_loop()
        if (first := self._before(call)) is not None:
            await first
        try:
            return await work()
        finally:  # an error is an answer too: it can be lost, and its caller killed
            if (then := self._after(call)) is not None:
                await then

    def _before(self, call: Call) -> Awaitable[None] | None:
        """Raises the error of the call's fault; else returns what to await before its work."""
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
    """A `FaultyAdapter` with `put_blocking`."""

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
        """Runs on the loop of the adapter behind; on a new one before there is one."""
        if work is None:
            return

        async def wait() -> None:
            await work

        if self._loop is None or self._loop.is_closed():
            asyncio.run(wait())
        else:
            asyncio.run_coroutine_threadsafe(wait(), self._loop).result()
