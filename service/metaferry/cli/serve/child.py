"""One run as a process of its own: started, told to stop, and what came of it.

A process a run, so that its memory goes back to the system, and a library that crashes ends one run
and not the loop. It is in a process group of its own (a terminal's Ctrl-C reaches it once, through
the loop) and ends when the loop is gone: `worker.py` is the other side.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from metaferry.cli.signals import SIGNALS
from metaferry.planning.formats import RunReport
from metaferry.progress import Stop
from metaferry.tempfiles import temporary_file

log = logging.getLogger(__name__)

#: Seconds in which the reports of earlier runs are read, or are not.
_RECALL: Final = 60.0


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a run is told; it goes through a pipe, since a `--set` may hold a secret."""

    job: str
    sets: tuple[str, ...] = field(repr=False)
    quiet: bool
    verbose: int
    log_format: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that ended. `report` is what `run.json` holds; `error` is "" where the run raised none."""

    started: datetime
    seconds: float
    report: Mapping[str, Any]
    error: str = ""
    advice: str = ""

    @property
    def exit_code(self) -> int:
        return int(self.report["exit_code"])


class Runner:
    """Does one run after the other; when `stop` is asked, passes the signal on to the one under way."""

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

    def run(self) -> Finished:
        """Starts a run and waits for its end, however long that takes."""
        started, begun = self._now(), self._clock()
        # Its word is a file and no pipe: a helper of a run that was killed could keep a pipe open.
        with temporary_file() as word:
            with _held_back():
                process = subprocess.Popen(
                    (sys.executable, "-P", "-m", self._module),
                    stdin=subprocess.PIPE,
                    stdout=word,
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                    process_group=0,
                )
            with process:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # it died at once; its code tells
                    process.stdin.write(json.dumps(asdict(self._request)).encode() + b"\n")
                    process.stdin.flush()
                self._process = process
                if self._stop.requested:  # since it was started, and before it could be told
                    self._pass_on()
                code = process.wait()
                self._process = None
            word.seek(0)
            said = word.read()
        return _finished(said, code, started, self._clock() - begun)

    def recall(self) -> tuple[Mapping[str, Any], Mapping[str, Any] | None] | None:
        """The reports of the last run and of the last good one, from before this process; None for none.

        What cannot be read within a minute is not waited for, nor is it while somebody asks to stop.
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
                said, _ = process.communicate(json.dumps(asdict(self._request)).encode() + b"\n", _RECALL)
            except subprocess.TimeoutExpired:
                process.kill()
                log.warning("what earlier runs reported could not be read within %.0f s", _RECALL)
                return None
            finally:
                self._recalling = None
        if process.returncode != 0:
            return None  # its log says why
        reports = json.loads(said)
        return None if reports["last"] is None else (reports["last"], reports["good"])

    def _pass_on(self) -> None:
        """May run in a signal handler, between any two steps of `run`."""
        recalling = self._recalling
        if recalling is not None:
            recalling.kill()  # it only reads
        process, number = self._process, self._stop.signal
        if process is not None and number is not None and self._signalled is not process:
            self._signalled = process  # once: a second signal would end the run without a drain
            process.send_signal(number)


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """A process that is started in this block gets no signal to end before it lets them through.

    It does so when its handlers stand; a signal before that waits, where it would have killed the process.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _finished(said: bytes, code: int, started: datetime, seconds: float) -> Finished:
    try:
        word = json.loads(said)
        return Finished(started, seconds, word["report"], word["error"], word["advice"])
    except (ValueError, KeyError, TypeError):
        pass
    # It had no last word: killed from outside, for want of memory, or by a crash of a library.
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    report = RunReport(run_id="", job_digest="", started=started.isoformat(timespec="seconds"))
    report.exit_code = 128 - code if code < 0 else code or 1
    advice = "signal 9 is often want of memory: see Sizing in docs/operations.md" if code == -9 else ""
    return Finished(started, seconds, report.to_dict(), f"the process of the run {how}", advice)
