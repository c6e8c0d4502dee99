"""The call: everything is measured once, then judged. One failing check never ends the others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

from metaferry.errors import MetaferryError, NotFound
from metaferry.job.model import Job
from metaferry.job.parts import STATE, Location
from metaferry.job.readers.object import asked_of_objects
from metaferry.lightly.names import DOCUMENTS, SCHEMA
from metaferry.lightly.schema import read_entries
from metaferry.media.listing import MediaFilter
from metaferry.planning.database import open_database
from metaferry.progress import Progress, Silent
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.lease.look import find_lease, lease_age
from metaferry.runs.lease.record import is_gone, machine
from metaferry.runs.storages import Storages
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from metaferry.view.doctor import judge
from metaferry.view.doctor import machine as here
from metaferry.view.doctor.cloud import Facts, facts, may_delete_on_s3, place_of
from metaferry.view.doctor.model import Check, Doctor, Measured, Status, measured, measured_now
from metaferry.view.doctor.rights import StoreLocation
from metaferry.view.doctor.store import (
    FOLDER,
    Listing,
    Written,
    find_media,
    first_page,
    impossible_token,
    is_living,
    may_put,
    read_seconds,
    try_state,
)
from metaferry.view.doctor.tables import measure_tables
from metaferry.view.policy.accesses import reads_media

#: Seconds for which a request is tried again: a store that is down is to be named soon.
_RETRY_FOR = 15.0


@dataclass(frozen=True, slots=True)
class _Opened:
    """A location of the job, its storage, and what messages call it."""

    location: Location
    storage: Storage
    place: StoreLocation


def examine(
    target: Job | str | PathLike[str],
    *,
    overrides: Sequence[str] = (),
    read_only: bool = False,
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> Doctor:
    """All checks of a job, or of the job file at a path, under `overrides` (`key=value`).

    Raises JobError and UsageError for a job that cannot be opened at all; whatever else is wrong is a check
    that failed.
    """
    progress, deps = progress or Silent(), deps or RuntimeDeps()
    job = target if isinstance(target, Job) else Job.load(target, overrides)
    name = "JOB" if isinstance(target, Job) else fspath(target)
    result = Doctor(name, read_only)
    job = job.model_copy(update={"retry_for": min(job.retry_for, _RETRY_FOR)})
    with Portal() as portal:
        storages = Storages(job, portal, deps)
        try:
            _Examination(job, name, storages, portal, deps, result, progress).run()
        finally:
            storages.close()
    return result


class _Examination:
    """The measurements of one call, in the order in which they are shown."""

    def __init__(
        self,
        job: Job,
        name: str,
        storages: Storages,
        portal: Portal,
        deps: RuntimeDeps,
        result: Doctor,
        progress: Progress,
    ) -> None:
        self._job, self._name, self._storages = job, name, storages
        self._portal, self._deps, self._result, self._progress = portal, deps, result, progress
        self._input = self._open(job.input)
        self._lightly = self._open(job.lightly_location)
        self._state, self._prefix = self._lightly, STATE
        if job.state is not None:
            self._state, self._prefix = self._open(job.state, writable=not result.read_only), ""
        self._run = f"{machine() or 'unknown'}-{os.getpid()}-{deps.random.getrandbits(64):016x}"

    def run(self) -> None:
        self._machine()
        known = self._facts()
        self._add(*judge.identity(self._input.place, known[0][1]))
        lists = self._media()
        if self._lightly.storage is not self._input.storage:
            self._add(*judge.identity(self._lightly.place, known[-1][1]))
            found = measured_now(lambda: self._wait(first_page(self._lightly.storage, prefix=DOCUMENTS)))
            self._add(judge.judged("list documents", self._lightly.place, found, "list", "", "yes"))
            lists = found
        written = self._written(lists)
        self._documents(lists, written)
        self._latency(lists, written)
        self._add(*judge.settings(self._lightly.place, known[-1][1]))
        self._lease(lists, written)
        self._schema(lists)
        self._tables()

    # -- one group of checks each

    def _machine(self) -> None:
        self._progress.phase("Looking at this machine", None)
        stores = {each.place.store for each in (self._input, self._lightly, self._state)}
        self._add(
            judge.versions(here.versions(stores)),
            judge.proxies(here.proxies(os.environ)),
        )

    def _facts(self) -> list[tuple[StoreLocation, Facts]]:
        self._progress.phase("Looking at credentials", None)
        found = []
        for each in _distinct(self._input, self._lightly):
            options = self._job.storage_options(each.location)
            asked = self._wait(facts(each.place, each.location.url, options, self._deps.now))
            found.append((each.place, asked))
        return found

    def _media(self) -> Measured[Listing]:
        self._progress.phase("Listing and reading", None)
        wanted = MediaFilter(tuple(self._job.media.include or ()), tuple(self._job.media.exclude))
        place, storage = self._input.place, self._input.storage
        found = measured_now(lambda: self._wait(find_media(storage, wanted)))
        self._add(judge.media(place, found))
        first = found.value.first if found.value else None
        if first is None:
            why = "no media is known" if found.done else "media could not be listed"
            self._add(Check("read media", Status.SKIPPED, why, place=place.url))
        else:
            read = measured_now(lambda: self._wait(storage.read(first, 0, 64)))
            if judge.is_missing_right(read.error) and not reads_media(self._job):
                read = Measured(skipped="these credentials may not, and this job reads no media")
            self._add(judge.judged("read media", place, read, "read", "", f"yes: {first}"))
            if any(asked.tags for asked in asked_of_objects(self._job)):
                self._add(judge.tags(place, self._tags(storage, first)))
        return found

    def _tags(self, storage: Storage, path: str) -> Measured[Mapping[str, str]]:
        if not storage.facts.has_tags:
            return Measured(skipped="objects of this store have no tags")
        return measured_now(lambda: self._wait(storage.facts.tags(path)))

    def _written(self, lists: Measured[Listing]) -> Written:
        self._progress.phase("Writing and deleting in the state folder", None)
        state, prefix = self._state, self._prefix
        why = "--read-only" if self._result.read_only else judge.blocks(lists.error)
        if why:
            written = Written.skipped(why)
        else:
            folder = f"{prefix}{FOLDER}"
            machine_now = machine() or "unknown"
            written = self._wait(
                try_state(
                    state.storage,
                    folder,
                    f"{self._run}/",
                    self._deps.clock,
                    lambda run: is_living(run, machine_now),
                )
            )
        self._add(
            *judge.state_folder(state.place, prefix, written, lists=not judge.is_missing_right(lists.error))
        )
        return written

    def _documents(self, lists: Measured[Listing], written: Written) -> None:
        lightly, policy = self._lightly, self._job.policy.delete
        store = lightly.place.store
        why = self._unproven(lists, written)
        put: Measured[bool] = Measured(skipped=why)
        delete = put
        if not why:
            put = self._try(may_put(lightly.storage, store, self._run))
            options = self._job.storage_options(lightly.location)
            if store == "s3":
                delete = self._try(may_delete_on_s3(lightly.place, options, self._run))
            else:
                delete = self._try(self._may_delete())
        self._add(
            judge.write_documents(lightly.place, DOCUMENTS, put),
            judge.delete_documents(lightly.place, DOCUMENTS, delete, policy=policy),
        )

    def _unproven(self, lists: Measured[Listing], written: Written) -> str:
        """Why a put that cannot succeed would prove nothing; "" where it does."""
        if self._result.read_only:
            return "--read-only"
        if blocked := judge.blocks(lists.error):
            return blocked
        if lists.error is not None:
            return "without the right to list, the store answers the same to a key that is not there"
        if self._lightly.place.store == "local":
            return ""
        if self._state.storage is not self._lightly.storage:
            return "the state folder is elsewhere, so it is not known whether conditions hold here"
        honoured = written.honoured.value
        if honoured is None:
            return "it is not known whether the store honours conditions"
        if not (honoured.create and honoured.replace):
            return "the store does not honour conditions, so a try could leave a document behind"
        return ""

    async def _may_delete(self) -> bool:
        from metaferry.errors import Conflict, Denied
        from metaferry.storage.local.adapter import LocalAdapter
        from metaferry.storage.retry.storage import Retrying

        storage = self._lightly.storage
        if isinstance(storage, Retrying) and isinstance(storage.adapter, LocalAdapter):
            return await may_put(storage, "local", self._run)  # the same right on the folder
        key = f"{DOCUMENTS}.metaferry-doctor-{self._run}"
        try:
            await storage.delete(key, only_if=impossible_token(self._lightly.place.store))
        except Conflict:
            return True
        except Denied:
            return False
        return True

    def _latency(self, lists: Measured[Listing], written: Written) -> None:
        seconds, writes = written.seconds, True
        if seconds.value is None and not judge.blocks(lists.error) and lists.done:
            key = f"{self._prefix}lease.json"
            seconds = measured_now(
                lambda: self._wait(read_seconds(self._state.storage, key, self._deps.clock))
            )
            writes = False
        if seconds.error is not None:
            seconds = Measured(skipped="a request of another check failed")
        self._add(judge.latency(self._state.place, seconds, self._job.concurrency, writes=writes))

    def _lease(self, lists: Measured[Listing], written: Written) -> None:
        key = f"{self._prefix}lease.json"
        why = judge.blocks(lists.error)
        if lists.error is not None and not why:
            why = "without the right to list, a file that is not there cannot be told from one that is"
        if judge.is_missing_right(written.read_back.error):
            why = "the state folder may not be read"
        found: Measured[Any] = Measured(skipped=why)
        if not why:
            found = self._try(self._find_lease(key, written))
        self._add(judge.lease(self._state.place, found, self._name))

    async def _find_lease(self, key: str, written: Written) -> Any:
        storage = self._state.storage
        lease = await find_lease(storage, key, self._job.lease_for)
        if lease is None:
            return None
        age = None
        if written.delete.done and written.write.done:
            age = await lease_age(storage, key, lease.token, self._run)
        return lease.holder, age, is_gone(lease.holder)

    def _schema(self, lists: Measured[Listing]) -> None:
        why = judge.blocks(lists.error)
        if lists.error is not None and not why:
            why = "without the right to list, a file that is not there cannot be told from one that is"
        found: Measured[Any] = Measured(skipped=why) if why else self._try(self._read_schema())
        self._add(judge.schema(self._lightly.place, found, DOCUMENTS))

    async def _read_schema(self) -> Any:
        try:
            data = (await self._lightly.storage.read(SCHEMA)).data
        except NotFound:
            return None
        entries, faults = read_entries(data)
        return len(entries), [f"line {each.line}, column {each.column}: {each.message}" for each in faults]

    def _tables(self) -> None:
        self._progress.phase("Reading tables", None)
        rows: int | None = 0
        try:
            with open_database(memory_limit=self._job.memory_limit, scratch=self._job.scratch) as database:
                for label, found in measure_tables(self._job, database, self._storages):
                    self._add(judge.table(label, found))
                    read = found.value.rows if found.value else None
                    rows = None if rows is None or read is None else rows + read
        except MetaferryError as error:
            self._add(Check("tables", Status.FAIL, error.message, error.advice))
            rows = None
        self._add(judge.scratch(here.scratch(self._job.scratch), rows))

    # -- helpers

    def _open(self, location: Location, *, writable: bool = False) -> _Opened:
        storage = self._storages.writable(location) if writable else self._storages.at(location)
        return _Opened(location, storage, place_of(location.url, storage.url))

    def _wait(self, work: Any) -> Any:
        return self._portal.run(work)

    def _try(self, work: Any) -> Measured[Any]:
        found: Measured[Any] = self._wait(measured(work))
        return found

    def _add(self, *checks: Check) -> None:
        self._result.checks += checks


def _distinct(*opened: _Opened) -> list[_Opened]:
    """One for each storage: the same bucket under the same options is asked once."""
    found: Mapping[int, _Opened] = {id(each.storage): each for each in opened}
    return list(found.values())
