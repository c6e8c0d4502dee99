"""One run as a process of its own: start, stop and result.

One process per run, so that its memory goes back to the system and a crash in a library ends one run
and not the loop. It has its own process group (Ctrl-C on a terminal reaches it once, through the loop)
and ends when the loop is gone. `worker.py` is the other side.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from metaferry.cli.show.text import duration
from metaferry.cli.signals import SIGNALS
from metaferry.planning.formats import RunReport
from metaferry.progress import Stop
from metaferry.tempfiles import temporary_file

log = logging.getLogger(__name__)

#: Most seconds for reading the reports of earlier runs.
_RECALL: Final = 60.0


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The request for a run, passed through a pipe since a `--set` may hold a secret."""

    job: str
    sets: tuple[str, ...] = field(repr=False)
    quiet: bool
    verbose: int
    log_format: str
    page: str = ""  # a local file for the page of the run, where one is wanted


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that ended. `report` is what `run.json` holds; `error` is "" unless the run raised one."""

    started: datetime
    seconds: float
    report: Mapping[str, Any]
    error: str = ""
    advice: str = ""

    @property
    def exit_code(self) -> int:
        return int(self.report["exit_code"])


class Runner:
    """Does one run at a time; when a stop is requested, passes the signal on to the run under way."""

    def __init__(
        self,
        request: RunRequest,
        stop: Stop,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        module: str = "metaferry.cli.serve.worker",
    ) -> None:
        self._request = request
        self._stop = stop
        self._now = now
        self._clock = clock
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._signalled: subprocess.Popen[bytes] | None = None
        self._recalling: subprocess.Popen[bytes] | None = None
        stop.listen(self._pass_on)

    @property
    def process(self) -> int | None:
        """The id of the process of the run under way; None between runs. May be called by any thread."""
        process = self._process
        return None if process is None else process.pid

    def run(self, expected: float | None = None) -> Finished:
        """Starts a run and waits for its end, however long that takes.

        After `expected` seconds, and each time that this has doubled, a warning says that it still goes on.
        """
        started, begun = self._now(), self._clock()
        # The result goes to a file, not a pipe: a child of a killed run could keep a pipe open.
        with temporary_file() as output:
            with _signals_blocked():
                process = subprocess.Popen(
                    (sys.executable, "-P", "-m", self._module),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                    process_group=0,
                )
            with process:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # it ended at once; see its exit code
                    process.stdin.write(json.dumps(asdict(self._request)).encode() + b"\n")
                    process.stdin.flush()
                self._process = process
                if self._stop.requested:  # requested before `_process` was set
                    self._pass_on()
                with _still_going_on(started, expected):
                    code = process.wait()
                self._process = None
            output.seek(0)
            result = output.read()
        return _finished(result, code, started, self._clock() - begun)

    def recall(self) -> tuple[Mapping[str, Any], Mapping[str, Any] | None] | None:
        """The last report and the last good one from before this process; None if there is none.

        Given up after a minute, and when a stop is requested.
        """
        process = subprocess.Popen(
            (sys.executable, "-P", "-m", "metaferry.cli.serve.recall"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            process_group=0,
        )
        with process:
            self._recalling = process
            if self._stop.requested:
                process.kill()
            try:
                output, _ = process.communicate(json.dumps(asdict(self._request)).encode() + b"\n", _RECALL)
            except subprocess.TimeoutExpired:
                process.kill()
                log.warning("the reports of earlier runs could not be read within %.0f s", _RECALL)
                return None
            finally:
                self._recalling = None
        if process.returncode != 0:
            return None  # its log says why
        reports = json.loads(output)
        return None if reports["last"] is None else (reports["last"], reports["good"])

    def _pass_on(self) -> None:
        """May be called by a signal handler, between any two steps of `run`."""
        recalling = self._recalling
        if recalling is not None:
            recalling.kill()  # it only reads
        process, number = self._process, self._stop.signal
        if process is not None and number is not None and self._signalled is not process:
            self._signalled = process  # once: a second signal would end the run without a drain
            process.send_signal(number)


@contextlib.contextmanager
def _still_going_on(started: datetime, expected: float | None) -> Iterator[None]:
    """Warns of a run that does not end while the block lasts."""
    ended = threading.Event()

    def watch(seconds: float) -> None:
        total, wait = seconds, seconds
        while not ended.wait(wait):
            log.warning(
                "the run of %s is still going on after %s: its last line of progress says where; "
                "SIGTERM lets it end cleanly",
                started.isoformat(timespec="seconds"),
                duration(total),
            )
            total, wait = total * 2, total

    if expected is None:
        yield
        return
    thread = threading.Thread(target=watch, args=(expected,), name="metaferry-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """A process started in this block has the signals blocked until it installs its handlers.

    A signal before that is delivered later, where it would have killed the process.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _finished(result: bytes, code: int, started: datetime, seconds: float) -> Finished:
    try:
        ended = json.loads(result)
        return Finished(started, seconds, ended["report"], ended["error"], ended["advice"])
    except (ValueError, KeyError, TypeError):
        pass
    # It wrote no result: it was killed, was out of memory, or crashed in a library.
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    report = RunReport(run_id="", job_digest="", started=started.isoformat(timespec="seconds"))
    report.exit_code = 128 - code if code < 0 else code or 1
    advice = "signal 9 is often lack of memory: see Sizing in docs/operations.md" if code == -9 else ""
    return Finished(started, seconds, report.to_dict(), f"the process of the run {how}", advice)
