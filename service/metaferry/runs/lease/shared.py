"""The lease of a plan: held in the plan's name by all processes that apply a part of it, on any machine.

It is the same `lease.json` under the same rules as a run's own (`lease.py`), with two differences.
A process that applies a part of the plan joins as one more member, and does not wait; any other run
finds the lease taken. And a renewal by one member is for all: each reads the lease every sixth of its
time, and renews it if no member has since its last read. A member counts from that read, which was
before the renewal, so it has stopped before another run may begin, whichever member renewed.

The last member to leave gives it back. A member that died prevents that only where its death cannot be
detected: then the lease expires.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from metaferry.errors import Conflict
from metaferry.progress import Progress, Stop
from metaferry.runs.lease.lease import Lease, living
from metaferry.runs.lease.look import Found, find_lease
from metaferry.runs.lease.record import LeaseRecord, Member, is_member_gone, joined, left
from metaferry.storage.protocol import Storage
from metaferry.storage.throttle.limiter import urgent

log = logging.getLogger(__name__)

#: Seconds of the first pause, at random from 0, before a change is tried again that conflicted; it doubles
#: up to the longest. Without it, members that leave together would conflict again and again.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class SharedLease(Lease):
    """One member's part in the lease of a plan. `record.holder` is the plan's name, the same for all."""

    def __init__(
        self,
        storage: Storage,
        key: str,
        record: LeaseRecord,
        member: Member,
        *,
        stop: Stop,
        progress: Progress,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        rng: random.Random | None = None,
    ) -> None:
        super().__init__(storage, key, record, stop=stop, progress=progress, clock=clock, sleep=sleep)
        self._member = member
        self._name = member.name
        self._last_read = clock()
        self._rng = rng if rng is not None else random.Random()

    @property
    def _due(self) -> float:
        return self._last_read + self._record.lease_for / 6

    def _may_join(self, found: Found) -> bool:
        return found.holder.holder == self._record.holder

    def _first(self, found: Found | None) -> LeaseRecord:
        """What is written to take the lease, or to join those who have it."""
        record = replace(self._record, held=0.0, renewed=0, members=())
        if found is not None and self._may_join(found):
            there = tuple(m for m in found.holder.members if not is_member_gone(m, living=living))
            current = found.holder
            record = replace(record, held=current.held, renewed=current.renewed + 1, members=there)
        return joined(record, self._member)

    def _is_ours_from(self, sent: float) -> None:
        super()._is_ours_from(sent)
        self._last_read = max(self._last_read, sent)

    async def _renew(self) -> None:
        """One read, and a renewal where no other member made one since the last."""
        async with self._renewing:
            read_before, read = self._last_read, self._clock()
            with urgent():
                found = await self._find_ours()
                if found.token != self._token:
                    self._record, self._token = found.holder, found.token
                    self._is_ours_from(read_before)
                else:
                    held, number = round(read - self._taken, 1), found.holder.renewed + 1
                    renewed = joined(replace(found.holder, held=held, renewed=number), self._member)
                    try:
                        put_result = await self._storage.put(
                            self._key, renewed.to_json(), only_if=found.token
                        )
                    except Conflict:
                        # Another member was faster; or the lease is no longer ours, which this read shows.
                        found = await self._find_ours()
                        self._record, self._token = found.holder, found.token
                    else:
                        self._record, self._token = renewed, put_result.token
                    self._is_ours_from(read)
            self._last_read = read

    async def _find_ours(self) -> Found:
        found = await find_lease(self._storage, self._key, self._record.lease_for)
        if found is None or not self._may_join(found):
            raise Conflict(f"{self._url}: the lease of this plan is no longer there", url=self._url)
        return found

    async def _delete(self, token: str) -> None:
        """Leaves; the last member deletes the lease. Tries until it succeeds or is cancelled."""
        pause = _FIRST_PAUSE
        while True:
            found = await find_lease(self._storage, self._key, self._record.lease_for)
            if found is None or not self._may_join(found):
                return
            rest = left(found.holder, self._member, living=living)
            with contextlib.suppress(Conflict):
                if rest.members:
                    await self._storage.put(self._key, rest.to_json(), only_if=found.token)
                else:
                    await self._storage.delete(self._key, only_if=found.token)
                return
            log.debug("%s: others changed the lease while %s left it", self._url, self._name)
            await self._sleep(self._rng.uniform(0.0, pause))
            pause = min(2 * pause, _LONGEST_PAUSE)
