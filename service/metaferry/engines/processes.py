"""Applies the documents of a plan in several processes of this machine, a share of its shards each.

For stores whose client keeps one event loop busy (docs/storage.md). Each worker (`worker.py`) is a
fresh interpreter with a storage of its own; it is told what to do and to stop through one pipe, and
says through it what became of each document. A worker whose pipe closes stops taking work, so none
outlives the run, however that ended. Nothing is decided here.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

from metaferry.apply.outage import Outage
from metaferry.apply.outcome import Applied, OutcomeRecorder, Tally
from metaferry.apply.shards import shard_numbers
from metaferry.errors import MetaferryError
from metaferry.progress import Stop
from metaferry.storage.counts import RequestCounts
from metaferry.storage.rates import RateHistory

log = logging.getLogger(__name__)

#: Seconds beyond the grace of an interrupt that a worker gets to say its last word.
_RESULT_TIMEOUT: Final = 5.0

#: What a worker hears again and again while the run is there.
GO_ON: Final = "go on"


@dataclass(frozen=True, slots=True)
class Opening:
    """How a worker opens the datasource: what `open_storage` takes. No option is in its repr."""

    url: str
    options: Mapping[str, Any]
    settings: Mapping[str, Any]

    def __repr__(self) -> str:
        return "Opening(…)"


@dataclass(frozen=True, slots=True)
class ShardTask:
    """What one worker is to do."""

    opening: Opening
    plan: Path
    shards: tuple[int, ...]
    concurrency: int
    grace: float
    silence: float  # seconds without a word of the run after which the work is given up


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a worker's log: the run's own log says it, in its form and with its name."""

    logger: str
    level: int
    message: str

    def say(self) -> None:
        logging.getLogger(self.logger).log(self.level, "%s", self.message)


class WorkerChannel(logging.Handler):
    """A worker's end of its pipe: sends from any thread, and what is logged there as `LogLine`."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__(logging.WARNING)  # what a run says at length it says itself
        self._pipe = pipe
        self._sending = threading.Lock()

    def send(self, message: object) -> None:
        """OSError when nobody listens any more: the run has ended."""
        self.send_bytes(pickle.dumps(message))

    def send_bytes(self, message: bytes) -> None:
        """The same for what is pickled already."""
        with self._sending:
            self._pipe.send_bytes(message)

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            self.send(LogLine(record.name, record.levelno, record.getMessage()))


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """What a worker asked of the store, and what ended it if it was not the end of its work."""

    requests: RequestCounts
    rates: RateHistory
    error: BaseException | None
    outage: str = ""  # as `Tally.outage`


def write_in_processes(
    plan: Path,
    opening: Opening,
    *,
    workers: int,
    concurrency: int,
    record: Callable[[Sequence[Applied]], None],
    tally: Tally,
    stop: Stop,
    grace: float,
    silence: float = 30.0,
    advance: Callable[[int], None],
    absorb: Callable[[RequestCounts, RateHistory], None],
) -> None:
    """Writes the documents of a plan (not its deletes), `concurrency` requests under way in each worker.

    `record`, `advance` and, with the requests of a worker that has ended, `absorb` are called from
    this thread alone. When `stop` is set the workers drain; so they do when one of them finds that the
    store takes nothing any more (`tally.outage`); when they hear nothing of this process
    for `silence` seconds too, since one that is suspended keeps no lease. Raises the StorageError that
    ended one of them, after the others have drained too, and MetaferryError when a worker died or
    heard nothing.
    """
    shards = shard_numbers(plan)
    outage = Outage(found=lambda: ask())
    recorder = OutcomeRecorder(record, tally, advance, outage)
    processes: dict[Connection, subprocess.Popen[bytes]] = {}
    errors: list[BaseException] = []
    try:
        for _ in range(min(workers, len(shards))):
            try:
                pipe, process = _start()
            except OSError as error:
                if not processes:
                    raise not_started(error) from error
                log.warning("%s; %d of them write all", not_started(error).message, len(processes))
                break
            processes[pipe] = process
        for n, pipe in enumerate(processes):
            with contextlib.suppress(OSError):  # it died at once: its pipe says so below
                task = ShardTask(
                    opening, plan, tuple(shards[n :: len(processes)]), concurrency, grace, silence
                )
                pipe.send(task)
        ask = _stop_all(list(processes))
        stop.listen(ask)
        working = dict(processes)
        while working:
            for pipe in working:
                with contextlib.suppress(OSError):  # it has ended by itself
                    pipe.send(GO_ON)
            for ready in wait(list(working), silence / 8):
                assert isinstance(ready, Connection)
                try:
                    received = ready.recv()
                except (EOFError, OSError):
                    errors.append(_died(working.pop(ready).wait()))
                    ask()
                    continue
                if isinstance(received, WorkerResult):
                    del working[ready]
                    absorb(received.requests, received.rates)
                    if received.error is not None:
                        errors.append(received.error)
                        ask()  # what ended one will end the others
                    elif received.outage:
                        outage.see(received.outage)
                elif isinstance(received, LogLine):
                    received.say()
                else:
                    recorder.add(received)
    finally:
        for pipe, process in processes.items():
            pipe.close()  # a worker that has not ended yet takes it as the word to stop
            end_worker(process, grace + _RESULT_TIMEOUT)
    tally.stopped = stop.requested
    tally.outage = "" if stop.requested else outage.reason
    if errors:
        raise errors[0]


def _start() -> tuple[Connection, subprocess.Popen[bytes]]:
    return start_worker("metaferry.engines.worker")


def not_started(error: OSError) -> MetaferryError:
    """The error for a process that the system does not start."""
    return MetaferryError(
        f"a worker process could not be started ({os.strerror(error.errno) if error.errno else error})",
        advice="see what this machine allows of processes, open files and memory, or set `workers: 1`",
    )


def start_worker(module: str, *arguments: str) -> tuple[Connection, subprocess.Popen[bytes]]:
    """A process that runs `python -m module FD arguments…`, and our end of the pipe at FD.

    Raises OSError where the system starts no more.

    Not `multiprocessing`'s own processes: those run the caller's main module again, which starts a
    second run in a script that has no guard against it.
    """
    here, there = multiprocessing.Pipe()
    with there, contextlib.ExitStack() as undone:
        undone.callback(here.close)
        process = subprocess.Popen(
            (sys.executable, "-P", "-m", module, str(there.fileno()), *arguments),
            pass_fds=(there.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        undone.pop_all()
    return here, process


def end_worker(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Waits for a worker that has been told to end; kills it after so many seconds."""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _stop_all(pipes: list[Connection]) -> Callable[[], None]:
    def ask() -> None:
        for pipe in pipes:
            with contextlib.suppress(OSError):  # it has ended by itself
                pipe.send("stop")

    return ask


def _died(code: int) -> MetaferryError:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return MetaferryError(
        f"a worker process {how}; what it had not reported is left for the next run",
        advice="run it again; where memory is short, set `workers: 1`",
    )
