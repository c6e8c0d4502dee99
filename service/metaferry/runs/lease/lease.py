"""The lease: one writer a datasource, kept as `lease.json` in the state folder.

A sync takes it before it lists, so that no other run writes between its listing and its writes, renews
it while it works, and gives it back when everything is written. A plan takes none. A run that finds it
taken waits. The lease keeps runs from undoing each other's work. It is not what keeps a document whole:
puts are atomic, and conditional on what was listed, with or without a lease.

A lease is free again, without a clock that two machines would have to share, when

- its holder gives it back: the next run takes it at its next look;
- its holder's process is gone, on this machine (`record.py`): at once;
- it was not renewed for as long as it was taken for. A waiting run times the token with its monotonic
  clock: a token that has not changed for that long is expired. Where the store sets modification times by
  its own clock, the age of the lease is read from it (the time of a small object put just now, less that
  of the lease), which spares a new run most of the wait. Clocks of two machines are never compared.

Each step is conditional on the token last seen, so of two runs that take it over one wins. The holder
counts from *before* it sent its last renewal and stops a sixth of the time early, so it has stopped
before another run may begin. Then the lease is lost for good, and the run writes nothing more. Where the
store has no conditional writes all of this is best effort: the lease is read back after a second, and
the run whose record is read holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from metaferry.errors import Conflict, LeaseHeld, LeaseLost, StorageError
from metaferry.progress import Progress, Stop
from metaferry.runs.lease.look import Found, Watch, describe_holder, find_lease, lease_age
from metaferry.runs.lease.record import LeaseRecord, in_words, is_gone
from metaferry.storage.protocol import ABSENT, Precondition, Storage
from metaferry.storage.throttle.limiter import urgent

log = logging.getLogger(__name__)

#: Seconds that modification times of one store may differ: whole seconds, and more than one server.
_SKEW: Final = 2.0
#: Seconds between two reads of another run's lease, and between two looks at the stop.
_POLL: Final = 2.0
_STOP_POLL: Final = 0.25
#: Seconds after which a best-effort lease is read back: then two runs that write at the same time have
#: both written.
_SETTLE: Final = 1.0
#: Seconds that giving it back may take at the end of a run, and after a stop, when the process is killed
#: soon; a lease left behind expires.
_GIVE_BACK: Final = 10.0
_GIVE_BACK_SOON: Final = 3.0
#: The leases that this process holds, by their random names.
living: set[str] = set()


class Lease:
    """The lease of one run, on the event loop of its storage.

    `key` is where it is stored, `record` who takes it. `clock` is monotonic seconds, `sleep` is awaited.
    `stop` ends the waiting; when the lease is lost it is abandoned, and the run with it.
    """

    def __init__(
        self,
        storage: Storage,
        key: str,
        record: LeaseRecord,
        *,
        stop: Stop,
        progress: Progress,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._storage = storage
        self._key = key
        self._record = record
        self._name = record.holder  # what it is called among the leases of this process
        self._stop = stop
        self._progress = progress
        self._clock = clock
        self._sleep = sleep
        self._token: str | None = None  # None: not held
        self._taken = self._sent = clock()
        self._until = float("-inf")
        self._lost: LeaseLost | None = None
        self._next: LeaseRecord | None = None  # a renewal without a response yet
        self._renewal_error = ""  # why the last renewal failed
        self._renewing = asyncio.Lock()
        self._renewals: asyncio.Task[None] | None = None

    @property
    def _within(self) -> float:
        """Seconds that giving it back may take."""
        return _GIVE_BACK_SOON if self._stop.requested else _GIVE_BACK

    async def take(self, wait: float) -> None:
        """Takes it, waiting at most `wait` seconds for its holder, and renews it from then on.

        Raises LeaseHeld when that was not enough, `stop.error` when it is set meanwhile, and
        StorageError.
        """
        # Before it is written, so that another run of this process does not take it for a dead one's.
        living.add(self._name)
        try:
            await self._take(wait)
        except BaseException:
            living.discard(self._name)
            raise
        self._stop.guard(self.check)
        self._renewals = asyncio.create_task(self._keep_renewing())

    def check(self) -> LeaseLost | None:
        """The loss, once the lease is lost or has run out. Makes no request; safe from any thread."""
        if self._lost is None and self._token is not None and self._clock() >= self._until:
            reason = f": {self._renewal_error}" if self._renewal_error else ""
            self._lose(f"could not be renewed for {in_words(self._clock() - self._sent)}{reason}")
        return self._lost

    async def give_back(self) -> None:
        """Ends the renewals, and the lease where it is still ours. An error of the store is logged."""
        try:
            await self._stop_renewing()
        finally:
            self._stop.guard(None)
            living.discard(self._name)
            token, self._token = self._token, None
        if token is None or self._lost is not None:
            return
        try:
            # After a stop the process is killed soon, so it does not wait out a throttling pause.
            with urgent() if self._stop.requested else contextlib.nullcontext():
                async with asyncio.timeout(self._within):
                    await self._delete(token)
        except (StorageError, TimeoutError) as error:
            left = in_words(self._record.lease_for)
            why = error if str(error) else f"this was not done within {in_words(self._within)}"
            log.warning("%s: the lease could not be given back; it expires in %s: %s", self._url, left, why)

    # -- taking

    async def _take(self, wait: float) -> None:
        until = self._clock() + wait
        only_if: Precondition | None = ABSENT
        found: Found | None = None
        watch: Watch | None = None
        announced = False
        while only_if is None or not await self._claim(only_if, found):
            self._check_stop()
            left = until - self._clock()
            found = await find_lease(self._storage, self._key, self._record.lease_for)
            if found is None:  # given back just now
                if left < -_POLL:
                    raise self._is_held("other runs take it again and again", wait)
                only_if, watch = ABSENT, None
                await self._pause(_STOP_POLL)
                continue
            if self._may_join(found):
                only_if = found.token
                continue
            if watch is None or watch.token != found.token:
                watch = await self._watch(found, first=watch is None)
            if only_if != found.token and (why := self._is_free(found, watch)):
                log.warning("%s: %s is taken over from %s", self._url, why, found.holder.name)
                only_if = found.token
                continue
            if left <= 0:
                raise self._is_held(describe_holder(found.holder, watch.age(self._clock())), wait)
            if not announced:
                who = found.holder.name
                self._progress.note(f"waiting up to {in_words(left)} for {who}, who holds the lease")
                announced = True
            only_if = None  # until it is free it is only read: a read costs less than a put
            await self._pause(min(_POLL, left, max(_STOP_POLL, watch.free_at - self._clock())))

    def _may_join(self, found: Found) -> bool:
        """Whether this run may share the lease in place; never so for a run's own."""
        return False

    def _first(self, found: Found | None) -> LeaseRecord:
        """What is written to take the lease; `found` is what it replaces."""
        return replace(self._record, held=0.0, renewed=0)

    async def _claim(self, only_if: Precondition, found: Found | None) -> bool:
        """Writes our record under the condition; whether the lease is ours now."""
        sent = self._clock()
        record = self._first(found)
        try:
            put_result = await self._storage.put(self._key, record.to_json(), only_if=only_if)
        except Conflict:
            return False
        if not self._storage.capabilities.honours(only_if):
            await self._sleep(_SETTLE)
            seen = await find_lease(self._storage, self._key, self._record.lease_for)
            if seen is None or seen.holder.holder != record.holder:
                return False
            put_result = put_result._replace(token=seen.token)
        self._record, self._token, self._taken = record, put_result.token, sent
        self._is_ours_from(sent)
        if self._clock() - sent > self._third:
            # The put was slow. The lease is ours only if it was not taken over since.
            try:
                await self._renew()
            except Conflict:
                self._token = None
                return False
        return True

    async def _watch(self, found: Found, *, first: bool) -> Watch:
        now = self._clock()
        free_at = now + found.holder.lease_for
        if not first:  # it was renewed since our last look
            return Watch(found.token, now, free_at, 0.0)
        age = await lease_age(self._storage, self._key, found.token, self._record.holder)
        if age is not None and self._storage.capabilities.own_clock:
            free_at = min(free_at, free_at - age + _SKEW)
        return Watch(found.token, now, free_at, age)

    def _is_free(self, found: Found, watch: Watch) -> str:
        """Why it may be taken over; "" when it may not."""
        if is_gone(found.holder, living=living):
            return "a lease whose process is gone"
        return "an expired lease" if self._clock() >= watch.free_at else ""

    def _is_held(self, who: str, wait: float) -> LeaseHeld:
        waited = f" after {in_words(wait)} of waiting" if wait > 0 else ""
        return LeaseHeld(
            f"{self._url}: another run holds the lease{waited}: {who}",
            advice="wait for it to end, or set lease_wait higher; if it is stuck: metaferry unlock JOB",
        )

    @property
    def _url(self) -> str:
        return self._storage.url

    async def _pause(self, seconds: float) -> None:
        """Sleeps, and ends at once when the run is to stop."""
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            self._check_stop()
            await self._sleep(min(_STOP_POLL, left))
        self._check_stop()

    def _check_stop(self) -> None:
        if self._stop.requested:
            raise self._stop.error

    # -- renewing

    @property
    def _third(self) -> float:
        return self._record.lease_for / 3

    @property
    def _due(self) -> float:
        """When the next renewal is."""
        return self._sent + self._third

    def _is_ours_from(self, sent: float) -> None:
        self._sent = sent
        self._until = sent + self._record.lease_for * 5 / 6

    async def _keep_renewing(self) -> None:
        """Renews it every third of its time, and more often after a failure; ends when it is lost."""
        with urgent():  # it waits neither for documents nor for a throttling pause
            await self._renew_until_lost()

    async def _renew_until_lost(self) -> None:
        while True:
            due = self._due
            if self._renewal_error:
                due = max(due, self._clock() + self._third / 8)
            await self._sleep(max(0.0, due - self._clock()))
            if self.check() is not None:
                return
            try:
                # One response that does not come must not cost the lease.
                async with asyncio.timeout(self._third / 2):
                    await self._renew()
            except Conflict:
                self._lose(await self._taken_by())
                return
            except (StorageError, TimeoutError) as error:
                self._renewal_error = str(error) or "no answer"
                log.warning("%s: the lease could not be renewed yet: %s", self._url, self._renewal_error)
            else:
                self._renewal_error = ""

    async def _renew(self) -> None:
        """One renewal. Its bytes stay the same until a response comes, so that a lost one can be settled."""
        async with self._renewing:
            sent = self._clock()
            if self._next is None:
                held, renewed = round(sent - self._taken, 1), self._record.renewed + 1
                self._next = replace(self._record, held=held, renewed=renewed)
            with urgent():  # it waits neither for documents nor for a throttling pause
                put_result = await self._storage.put(
                    self._key, self._next.to_json(), only_if=self._token or ABSENT
                )
            self._record, self._next, self._token = self._next, None, put_result.token
            self._is_ours_from(sent)

    async def _stop_renewing(self) -> None:
        """Ends the renewals, if possible not during one. Raises what ended them."""
        timeout = min(self._third / 2, _GIVE_BACK_SOON) if self._stop.requested else self._third / 2
        renewals, self._renewals = self._renewals, None
        if renewals is None:
            return
        try:
            async with asyncio.timeout(timeout), self._renewing:
                renewals.cancel()
        except TimeoutError:
            renewals.cancel()
        [ended] = await asyncio.gather(renewals, return_exceptions=True)
        if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
            raise ended

    async def _taken_by(self) -> str:
        try:
            found = await find_lease(self._storage, self._key, self._record.lease_for)
        except StorageError as error:
            return f"is another run's (which cannot be read: {error})"
        return "was taken away" if found is None else f"was taken over by {found.holder.name}"

    def _lose(self, how: str) -> None:
        self._lost = LeaseLost(
            f"{self._url}: the lease of this run {how}; it stopped, and has written nothing since",
            advice="run it again: it goes on where this one stopped",
        )
        self._stop.abandon(self._lost)

    async def _delete(self, token: str) -> None:
        try:
            await self._storage.delete(self._key, only_if=token)
        except Conflict:
            # Another run's by now; or ours, from a renewal whose response was lost.
            found = await find_lease(self._storage, self._key, self._record.lease_for)
            if found is None or found.holder.holder != self._record.holder:
                return
            try:
                await self._storage.delete(self._key, only_if=found.token)
            except Conflict:
                if (
                    self._clock() < self._until
                ):  # the store does not accept its own token; no other run may take it yet
                    await self._storage.delete(self._key)
