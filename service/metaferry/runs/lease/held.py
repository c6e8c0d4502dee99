"""The lease of a job, as a run and `metaferry unlock` use it from their own thread.

`lease.py` has the rules.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from metaferry.errors import Conflict, LeaseHeld
from metaferry.job.model import Job
from metaferry.lightly.names import DOCUMENTS
from metaferry.progress import Progress, Stop
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.lease.lease import Lease
from metaferry.runs.lease.look import Found, find_lease, held_for, lease_age
from metaferry.runs.lease.record import LeaseRecord, is_gone, this_member, this_process
from metaferry.runs.lease.shared import SharedLease
from metaferry.runs.state.capability_probe import probe_capabilities
from metaferry.runs.state.folder import State
from metaferry.runs.storages import Storages
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage

#: Renewals between the read and the delete of `unlock` before it gives up.
_ATTEMPTS = 5


class RunLease:
    """The lease of one run: not held before `take()`, given back by `close()`.

    `shared`: it is the lease of the plan with the id `run_id`, held by all processes that apply a part
    of that plan.
    """

    def __init__(
        self,
        job: Job,
        lightly: Storage,
        state: State,
        portal: Portal,
        deps: RuntimeDeps,
        *,
        run_id: str,
        stop: Stop,
        progress: Progress,
        shared: bool = False,
    ) -> None:
        self._job = job
        self._lightly = lightly
        self._state = state
        self._portal = portal
        self._deps = deps
        self._taken = False
        self._name = f"{deps.random.getrandbits(64):016x}"
        record = this_process(
            f"plan-{run_id}" if shared else self._name,
            run_id,
            acquired=deps.now().isoformat(timespec="seconds"),
            lease_for=job.lease_for,
        )
        settings: dict[str, Any] = {
            "stop": stop,
            "progress": progress,
            "clock": deps.lease_clock,
            "sleep": deps.lease_sleep,
        }
        storage, key = state.storage, state.lease_key
        self._lease = (
            SharedLease(storage, key, record, this_member(self._name), rng=deps.random, **settings)
            if shared
            else Lease(storage, key, record, **settings)
        )

    def take(self) -> None:
        """Probes what the stores can do, and takes the lease, unless it is taken. Raises LeaseHeld and
        StorageError."""
        if not self._taken:
            self._portal.run(self._take())
            self._taken = True

    async def _take(self) -> None:
        state = self._state
        stores = [(state.storage, f"{state.capabilities_key.removesuffix('.json')}-probe-{self._name}")]
        if self._lightly is not state.storage:
            # The state is in another datasource, so this is our only folder there. No media has that name.
            stores.append((self._lightly, f"{DOCUMENTS}.metaferry-probe-{self._name}"))
        await probe_capabilities(stores, state.storage, state.capabilities_key, self._deps.now())
        await self._lease.take(self._job.lease_wait)

    def close(self) -> None:
        """Gives it back, where it is held."""
        self._portal.run(self._lease.give_back())


@dataclass(frozen=True, slots=True)
class Unlocked:
    """What `unlock` removed. `holder` None: there was no lease.

    `age` is the seconds since its last renewal, None where it is not known; `gone` whether its process
    is known to have ended.
    """

    url: str
    holder: LeaseRecord | None = None
    age: float | None = None
    gone: bool = False

    @property
    def held(self) -> str:
        """How long, in words: `held for 3 min, renewed 12 s ago`."""
        return "" if self.holder is None else held_for(self.holder, self.age)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, JSON-ready."""
        return asdict(self)


def lease_token(job: Job) -> str:
    """The version of the lease in place, "" where there is none; nothing is written. Raises StorageError."""
    with Portal() as portal, closing(Storages(job, portal)) as storages:
        state = State.of(job, storages, portal)
        found = portal.run(find_lease(state.storage, state.lease_key, job.lease_for))
        return "" if found is None else found.token


def unlock(job: Job, *, run_id: str = "", deps: RuntimeDeps | None = None) -> Unlocked:
    """Removes the lease of a job's datasource, whoever holds it; a run that holds it stops writing.

    run_id: only that of this run. Raises LeaseHeld when another run has it, or took it meanwhile, and
    StorageError.
    """
    deps = deps or RuntimeDeps()
    with Portal() as portal, closing(Storages(job, portal, deps)) as storages:
        state = State.of(job, storages, portal)
        return portal.run(_unlock(job, state, f"{deps.random.getrandbits(64):016x}", run_id))


async def _unlock(job: Job, state: State, name: str, run_id: str) -> Unlocked:
    storage, key = state.storage, state.lease_key
    first = found = await find_lease(storage, key, job.lease_for)
    if first is None:
        return Unlocked(storage.url)
    if run_id and first.holder.run_id != run_id:
        raise LeaseHeld(
            f"{storage.url}: the lease is that of run {first.holder.run_id or '(unknown)'}, not of {run_id}",
            advice="it is left as it is; without a run id, whatever lease there is would be removed",
        )
    age = await lease_age(storage, key, first.token, name)
    for _ in range(_ATTEMPTS):
        if found is None:  # given back meanwhile
            break
        if found.holder.holder != first.holder.holder:
            raise _taken_meanwhile(storage, found)
        try:
            await storage.delete(key, only_if=found.token)
            break
        except Conflict:  # renewed meanwhile
            found = await find_lease(storage, key, job.lease_for)
    else:
        raise _taken_meanwhile(storage, first)
    names = (first.holder.holder, *(member.name for member in first.holder.members))
    return Unlocked(storage.url, first.holder, age, is_gone(first.holder, living=names))


def _taken_meanwhile(storage: Storage, found: Found) -> LeaseHeld:
    return LeaseHeld(
        f"{storage.url}: the lease changed hands meanwhile: {found.holder.name} has it",
        advice="look again whether it is stuck: metaferry unlock JOB",
    )
