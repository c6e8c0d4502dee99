"""The storages of one run: each opened once, by the job's options, and closed together."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from metaferry.engines.writers import Opening
from metaferry.errors import UsageError
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.planning.price.model import PriceTable, Requests, Store, add_up
from metaferry.planning.price.tables import prices_of, store_name
from metaferry.runs.deps import RuntimeDeps
from metaferry.storage.capability_probe import Honoured
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.local.disk_names import to_disk
from metaferry.storage.protocol import Storage
from metaferry.storage.waits import Drain

log = logging.getLogger(__name__)

#: Processes that `workers: auto` uses at most, and the documents below which their start costs more.
_MAX_WORKERS: Final = 4
_MIN_DOCUMENTS: Final = 2_000


@dataclass(frozen=True, slots=True)
class WriterPool:
    """How many processes write documents, from how many documents on, and how they open the datasource."""

    workers: int
    least: int
    opening: Opening


class Storages:
    """The storages of one run, each opened once, all closed together."""

    def __init__(self, job: Job, portal: Portal, deps: RuntimeDeps | None = None) -> None:
        self._job = job
        self.portal = portal
        self._deps = deps or RuntimeDeps()
        self._open: dict[str, Storage] = {}
        self._prices: dict[str, PriceTable | None] = {}
        self._drain: Drain | None = None
        lightly = job.lightly_location
        self._written = _key(lightly.url, job.storage_options(lightly))

    def close(self) -> None:
        """Closes all of them; one that cannot be closed is logged."""
        for storage in self._open.values():
            try:
                self.portal.run(storage.close())
            except Exception as failed:  # noqa: BLE001 - any library may be behind it, raising anything
                why = type(failed).__name__
                log.warning("%s: its connections could not be closed (%s)", storage.url, why)

    def at(self, location: Location) -> Storage:
        """The storage of a location of the job."""
        return self.of(location.url, self._job.storage_options(location))

    def writable(self, location: Location) -> Storage:
        """The same for a folder of ours, which is created on a local file system."""
        if location.scheme == "file":
            os.makedirs(to_disk(location.url.removeprefix("file://")), exist_ok=True)
        return self.at(location)

    def of(self, url: str, options: Mapping[str, Any]) -> Storage:
        """The storage of a URL; the same object for the same URL and options."""
        key = _key(url, options)
        if key not in self._open:
            self._open[key] = open_storage(
                url,
                options,
                concurrency=self._job.concurrency,
                retry_for=self._job.retry_for,
                max_rate=self._job.max_rate if key == self._written else None,
                transport=self._job.transport,
                wrap=self._deps.wrap,
                clock=self._deps.clock,
                sleep=self._deps.sleep,
                rng=self._deps.random,
            )
            self._open[key].drained_by(self._drain)
            self._prices[key] = prices_of(url, options, os.environ, self._job.prices)
        return self._open[key]

    def prices(self, storage: Storage) -> PriceTable | None:
        """The prices of a storage that was opened here."""
        return next((self._prices[key] for key, each in self._open.items() if each is storage), None)

    def store(self, storage: Storage, requests: Requests) -> Store:
        """These requests, as requests to the store of a storage that was opened here."""
        return Store(store_name(storage.url), requests, self.prices(storage))

    def stores(self) -> tuple[Store, ...]:
        """The requests that were made, by store."""
        return tuple(add_up(self.store(each, Requests.of(each.requests)) for each in self._open.values()))

    def drained_by(self, drain: Drain | None) -> None:
        """`Storage.drained_by`, for those that are open and those that are opened later."""
        self._drain = drain
        for storage in self._open.values():
            storage.drained_by(drain)

    def writers(self) -> WriterPool | None:
        """The processes that write the documents; None where this one alone is best.

        With `workers: auto`, several for a store whose client keeps one core busy.
        """
        job, lightly = self._job, self.at(self._job.lightly_location)
        if job.workers == "auto":
            workers = min(os.cpu_count() or 1, _MAX_WORKERS)
            least = _MIN_DOCUMENTS
            if lightly.direct or not lightly.capabilities.one_loop:
                return None
        else:
            workers, least = job.workers, 2
        if workers < 2 or not lightly.capabilities.remote or not self._deps.is_plain:
            return None
        settings: dict[str, Any] = {
            "concurrency": max(1, job.concurrency // workers),
            "retry_for": job.retry_for,
            "transport": job.transport,
            "max_rate": None if job.max_rate is None else job.max_rate / workers,
        }
        capabilities = lightly.capabilities
        if not (capabilities.conditional and capabilities.replaces):  # or each worker would have to probe it
            settings["honoured"] = Honoured(capabilities.conditional, capabilities.replaces)
        location = job.lightly_location
        opening = Opening(location.url, job.storage_options(location), settings)
        return WriterPool(workers, least, opening)

    @property
    def all(self) -> list[Storage]:
        return list(self._open.values())


def require_shared(*storages: Storage) -> None:
    """UsageError where one of them is in the memory of this process, which no other process can read."""
    for storage in storages:
        if not storage.capabilities.remote:
            raise UsageError(
                f"{storage.url}: is in the memory of one process, so a plan cannot be divided for it",
                advice="name a folder or a bucket that all of them can reach",
            )


def _key(url: str, options: Mapping[str, Any]) -> str:
    return repr((url.rstrip("/"), sorted(options.items(), key=lambda item: item[0])))
