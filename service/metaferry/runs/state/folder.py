"""The state folder: ledger, frame cache and the reports of past runs.

All of it can be lost: the next run costs more, and nothing is lost in the datasource (what was there before
a run can then no longer be brought back). Whatever is damaged
or of a newer version is therefore named in the log and treated as lost, never trusted.

Layout below the folder::

    frames.parquet              frame counts by path, size and token (media/frames)
    facts/<kind>/<run id>-NN.NNNNNN.parquet   facts of media by path, size and token (media/facts)
    ledger/<run id>.parquet     what each run left behind; the newest row of a document counts. A large
                                one is in pieces: <run id>.0001.parquet …
    runs/<run id>/started.json  a run that has this and no run.json was cut off
    runs/<run id>/run.json      its report; rejects.parquet, findings.parquet and others beside it
    runs/<run id>/shard-NNNN.parquet   the done-markers of a run in shards (markers.py)
    runs/<run id>/plan/         its plan, where no other folder was named for it
    runs/<run id>/damaged.parquet  documents that read back wrong, until they are right (damage.py)
    runs/<run id>/listing/      pages of a large listing, until it is complete (listing_checkpoint.py)
    backup/<run id>/            old versions of what it overwrote or deleted, where the job keeps them
                                (runs/backup): <part>.json, and <part>.NNNN.parquet that it names
    lease.json                  the run that writes to this datasource now (runs/lease)
    traits.json                 what its stores were found to do (capability_probe.py)
    inferred.json               schema entries as runs inferred them (inferred.py)
    defaults.json               the defaults that documents were left out by (defaults.py)
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from metaferry.errors import NotFound
from metaferry.job.model import Job
from metaferry.job.parts import STATE
from metaferry.runs.state.retention import expired
from metaferry.runs.storages import Storages
from metaferry.storage.io.concurrent import in_order
from metaferry.storage.io.portal import Portal
from metaferry.storage.listing.checked_pages import listed
from metaferry.storage.local.adapter import LocalAdapter
from metaferry.storage.protocol import Entry, Storage
from metaferry.storage.retry.storage import Retrying

log = logging.getLogger(__name__)

_LEDGER = "ledger/"
_RUNS = "runs/"
_BACKUP = "backup/"
#: The folder of a run that holds pages of a listing.
LISTING = "/listing/"
#: The folder of a run that holds its plan.
KEPT_PLAN = "/plan/"
#: The first file of a run that writes documents.
_STARTED = "/started.json"
#: With pieces of so many runs the next one that changes something writes one whole ledger again.
_MOST_LEDGER_PIECES = 8


@dataclass(frozen=True, slots=True)
class RunHistory:
    """The runs before this one, by their files in the state folder."""

    run_ids: tuple[str, ...]  # oldest first; plans that nobody has applied are none
    interrupted: bool  # the newest of them never wrote its report
    files: tuple[str, ...]  # every key below runs/
    begun: tuple[str, ...] = ()  # those of `run_ids` that began to write, oldest first

    def without(self, run_id: str) -> RunHistory:
        """The same without a run that has begun in parts, for its own end."""
        return replace(self, run_ids=tuple(each for each in self.run_ids if each != run_id))


class State:
    """The state folder of one Lightly datasource: the keys of `storage` below `prefix`."""

    def __init__(self, storage: Storage, portal: Portal, prefix: str = "", *, concurrency: int = 16) -> None:
        self.storage = storage
        self.prefix = prefix
        self.concurrency = concurrency
        self.frame_cache_key = f"{prefix}frames.parquet"
        self.lease_key = f"{prefix}lease.json"
        self.inferred_key = f"{prefix}inferred.json"
        self.defaults_key = f"{prefix}defaults.json"
        self.capabilities_key = f"{prefix}traits.json"
        self._portal = portal
        self._begun: set[str] = set()  # by this process
        self._ledger = prefix + _LEDGER
        self._runs = prefix + _RUNS
        self._backup = prefix + _BACKUP

    @classmethod
    def of(cls, job: Job, storages: Storages, portal: Portal) -> Self:
        """The state folder of a job: its own location, or a folder beside the documents."""
        if job.state is None:
            return cls(storages.at(job.lightly_location), portal, STATE, concurrency=job.concurrency)
        return cls(storages.writable(job.state), portal, concurrency=job.concurrency)

    def history(self) -> RunHistory:
        """Reads the list of past runs; an empty or missing folder is no runs."""
        files = sorted(entry.path for entry in self._list(self._runs))
        ids = sorted({self._run_of(key) for key in files if KEPT_PLAN not in key})
        done = {self._run_of(key) for key in files if key.endswith("/run.json")}
        # One that only kept pages of its listing had not begun to write.
        known = sorted({self._run_of(key) for key in files if LISTING not in key and KEPT_PLAN not in key})
        begun = tuple(sorted({self._run_of(key) for key in files if key.endswith(_STARTED)}))
        return RunHistory(tuple(ids), bool(known) and known[-1] not in done, tuple(files), begun)

    def start(self, run_id: str, started: str) -> None:
        """Marks a run as begun. It is the first write of a run: a missing right shows here."""
        self._begun.add(run_id)
        self.write(
            self.run_key(run_id, _STARTED.removeprefix("/")), json.dumps({"started": started}).encode()
        )

    def write(self, key: str, data: bytes) -> None:
        """Writes one file of the state folder, atomically."""
        self._portal.run(self.storage.put(key, data))

    def run_key(self, run_id: str, name: str) -> str:
        return f"{self._runs}{run_id}/{name}"

    def page_key(self, run_id: str) -> str:
        return self.run_key(run_id, "report.html")

    def report_key(self, run_id: str) -> str:
        return self.run_key(run_id, "run.json")

    def url_of(self, key: str) -> str:
        """A file of the state folder as a URL for people."""
        return f"{self.storage.url.rstrip('/')}/{key}"

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes files of the state folder; those that are gone already too."""
        self._delete(keys)

    def forget_old_runs(self, history: RunHistory, run_id: str, keep: int, now: datetime) -> None:
        """Deletes what is too old to be kept (`retention.py`) when the run `run_id` ends."""
        gone = self.old_files(history, run_id, keep, now, wrote=run_id in {*history.begun, *self._begun})
        self._delete(gone)
        self._remove_folders(f"{self._runs}{run}" for run in sorted({self._run_of(key) for key in gone}))

    def old_files(
        self, history: RunHistory, run_id: str, keep: int, now: datetime, *, wrote: bool
    ) -> list[str]:
        """The keys that are too old to be kept when the run `run_id` ends, which `wrote` or did not."""
        parts = {key: key.removeprefix(self._runs).partition("/") for key in history.files}
        gone = set(
            expired(
                [(run, name) for run, _, name in parts.values()],
                {*history.begun, *self._begun},
                this=run_id,
                this_wrote=wrote,
                keep=keep,
                now=now,
            )
        )
        return [key for key, (run, _, name) in parts.items() if (run, name) in gone]

    def has_begun(self, run_id: str) -> bool:
        """Whether this process marked a run as begun."""
        return run_id in self._begun

    # -- backups

    def backup_key(self, run_id: str, name: str) -> str:
        return f"{self._backup}{run_id}/{name}"

    def backups(self, run_id: str = "") -> dict[str, list[str]]:
        """The files of each backup, or of that of one run, by the id of its run: one listing."""
        prefix = f"{self._backup}{run_id}/" if run_id else self._backup
        found: dict[str, list[str]] = {}
        for entry in self._list(prefix):
            run, _, name = entry.path.removeprefix(self._backup).partition("/")
            found.setdefault(run, []).append(name)
        return {run: sorted(found[run]) for run in sorted(found)}

    def delete_backups(self, backups: Mapping[str, Iterable[str]]) -> None:
        """Deletes these files of backups. What names the pieces goes first: without it they are none."""
        keys = [self.backup_key(run, name) for run, names in backups.items() for name in names]
        self._delete(key for key in keys if key.endswith(".json"))
        self._delete(key for key in keys if not key.endswith(".json"))
        self._remove_folders(f"{self._backup}{run}" for run in backups)

    # -- the shards of a run that several processes share

    def marker_key(self, run_id: str, shard: int) -> str:
        return self.run_key(run_id, f"shard-{shard:04d}.parquet")

    def marker_keys(self, run_id: str) -> set[str]:
        """Keys of the done-markers that are there: one listing."""
        return {entry.path for entry in self._list(self.run_key(run_id, "shard-"))}

    def forget_parts(self, run_id: str, *, plan: bool) -> None:
        """Deletes the markers of a run that is at its end, and with `plan` its plan where that lies here."""
        parts = [self.run_key(run_id, name) for name in (("shard-", "plan/") if plan else ("shard-",))]
        self._delete(sorted(entry.path for part in parts for entry in self._list(part)))
        if plan:
            self._remove_folders([self.run_key(run_id, "plan")])

    def read(self, key: str) -> bytes | None:
        """One file of the state folder; None where it is not there."""
        return self._portal.run(self._read(key))

    def read_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Those of the files that are there, read in parallel."""
        asked = list(keys)
        found = self._portal.run(in_order(asked, self._read, most=self.concurrency))
        return {key: data for key, data in zip(asked, found, strict=True) if data is not None}

    # -- the ledger

    def ledger_pieces(self) -> list[str]:
        """Keys of the ledger's pieces, oldest first (run ids sort by time)."""
        return sorted(entry.path for entry in self._list(self._ledger) if entry.path.endswith(".parquet"))

    def read_piece(self, key: str) -> bytes:
        """The bytes of one piece. NotFound when it went meanwhile."""
        return self._portal.run(self.storage.read(key)).data

    def write_ledger(self, run_id: str, data: bytes, *, part: int = 0) -> None:
        """Adds one of this run's pieces."""
        self.write(f"{self._ledger}{run_id}{f'.{part:04d}' if part else ''}.parquet", data)

    @staticmethod
    def wants_whole(pieces: list[str]) -> bool:
        runs = {key.rpartition("/")[2].partition(".")[0] for key in pieces}
        return len(runs) >= _MOST_LEDGER_PIECES

    # -- helpers

    def _run_of(self, key: str) -> str:
        return key.removeprefix(self._runs).partition("/")[0]

    def _list(self, prefix: str) -> list[Entry]:
        try:
            return self._portal.run(listed(self.storage, prefix))
        except NotFound as error:
            log.debug("no state folder yet: %s", error)
            return []

    async def _read(self, key: str) -> bytes | None:
        try:
            return (await self.storage.read(key)).data
        except NotFound as error:
            log.debug("%s: %s", key, error)
            return None

    def _delete(self, keys: Iterable[str]) -> None:
        self._portal.run(in_order(keys, self.storage.delete, most=self.concurrency))

    def _remove_folders(self, folders: Iterable[str]) -> None:
        """The folders of a local state that nothing is left in; stores with keys have none."""
        adapter = self.storage.adapter if isinstance(self.storage, Retrying) else None
        if isinstance(adapter, LocalAdapter):
            for folder in folders:
                adapter.remove_empty(folder)
