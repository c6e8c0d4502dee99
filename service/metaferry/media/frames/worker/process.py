"""The run's side of a frame worker: starts it, feeds it, and kills it at the deadline.

A subprocess of our own with two pipes. (`multiprocessing` would import the user's main module
again.) It is started with a bare environment, since what parses hostile files needs no
credentials, and in a session of its own, so that Ctrl-C reaches the run alone and what is under
way can be drained. Ranges come from a function, not from a storage.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from metaferry.errors import MetaferryError
from metaferry.media.frames.worker import protocol
from metaferry.tempfiles import temporary_file

#: `(start, length, seconds left) -> bytes`: the bytes of the video that the worker requests.
Serve = Callable[[int, int, float], bytes]

#: How long a worker may take to import FFmpeg and say hello, in seconds.
START: Final = 60.0

_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")


class WorkerFailed(Exception):
    """The worker ended, or broke the protocol, during a video; `str` says how."""


class DeadlinePassed(Exception):
    """The worker was killed because its time was over."""


def worker_command() -> tuple[str, ...]:
    """The command line of a frame worker, with this interpreter."""
    return (sys.executable, "-P", "-m", "metaferry.media.frames.worker.main")


class Worker:
    """One worker process, started when first needed and again after it was killed.

    For one thread at a time; only `kill` may be called from another.
    """

    def __init__(
        self, command: Sequence[str] | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._command = tuple(command or worker_command())
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: Any = None
        self._input = bytearray()
        self._stopped = threading.Event()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def run(self, job: dict[str, Any], serve: Serve, *, seconds: float) -> dict[str, Any]:
        """Does a job within `seconds`; the content of its DONE message, its "ticks" and its "picture".

        Raises `DeadlinePassed` and `WorkerFailed`, after which the process is gone and the next
        call starts another; `MetaferryError` when no worker can be started at all; and what
        `serve` raises, after which the process is gone too (it still waits for its bytes).
        """
        if self._process is None:
            self._start()
        deadline = self._clock() + seconds
        ticks, picture = array("q"), b""
        try:
            self._send(protocol.json_message(protocol.JOB, job), deadline)
            while True:
                kind, payload = self._receive(deadline)
                if kind == protocol.DONE:
                    return {**protocol.content(payload), "ticks": ticks, "picture": picture}
                if kind == protocol.PICTURE:
                    picture = payload
                    continue
                if kind == protocol.TICKS and not len(payload) % 8:
                    ticks.frombytes(payload)
                    if len(ticks) > protocol.MAX_TICKS:
                        raise protocol.ProtocolError(f"more than {protocol.MAX_TICKS} ticks")
                    continue
                if kind != protocol.READ:
                    raise protocol.ProtocolError(f"a message of kind {kind!r}")
                start, length = protocol.RANGE.unpack(payload)
                if not 0 < length <= protocol.MAX_READ or start + length > job["size"]:
                    raise protocol.ProtocolError("a read outside the file")
                data = serve(start, length, max(0.001, deadline - self._clock()))
                self._send(protocol.message(protocol.DATA, data), deadline)
        except protocol.ProtocolError as error:
            self._end()
            raise WorkerFailed(f"the decoder process sent {error}") from error
        except BaseException:
            self._end()
            raise

    def kill(self) -> None:
        """Ends the process at once and for good; a `run` under way raises `WorkerFailed`."""
        self._stopped.set()
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Ends the process and closes its pipes."""
        self._stopped.set()
        self._end()

    def _start(self) -> None:
        if self._stopped.is_set():
            raise WorkerFailed("the decoder process was stopped")
        self._errors = temporary_file()
        self._input.clear()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(),
                cwd="/",
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            self._errors.close()
            raise MetaferryError(
                f"the process that decodes videos cannot be started: {error.strerror}",
                advice="see what this machine allows of processes, open files and memory",
            ) from error
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
        if self._stopped.is_set():  # `kill` came while it was starting and saw no process
            self._process.kill()
        try:
            kind, _ = self._receive(self._clock() + START)
        except (WorkerFailed, DeadlinePassed, protocol.ProtocolError) as error:
            last_line = self._last_error_line()
            self._end()
            if self._stopped.is_set():
                raise WorkerFailed("the decoder process was stopped") from error
            raise MetaferryError(
                f"the process that decodes videos cannot be started: {last_line or error}",
                advice="`python -c 'import av'` shows whether PyAV is installed and loads",
            ) from error
        if kind != protocol.HELLO:
            self._end()
            raise MetaferryError("the process that decodes videos did not say hello")

    def _receive(self, deadline: float) -> tuple[bytes, bytes]:
        self._fill(protocol.HEADER.size, deadline)
        kind, length = protocol.header(bytes(self._input[: protocol.HEADER.size]))
        self._fill(protocol.HEADER.size + length, deadline)
        payload = bytes(self._input[protocol.HEADER.size : protocol.HEADER.size + length])
        del self._input[: protocol.HEADER.size + length]
        return kind, payload

    def _fill(self, wanted: int, deadline: float) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while len(self._input) < wanted:
            self._wait(pipe, select.POLLIN, deadline)
            try:
                part = os.read(pipe, 64 << 10)
            except BlockingIOError:
                continue
            if not part:
                raise WorkerFailed(self._how_it_ended())
            self._input += part

    def _send(self, data: bytes, deadline: float) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        pipe = self._process.stdin.fileno()
        view = memoryview(data)
        while view:
            self._wait(pipe, select.POLLOUT, deadline)
            try:
                view = view[os.write(pipe, view[: 1 << 20]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise WorkerFailed(self._how_it_ended()) from error

    def _wait(self, pipe: int, event: int, deadline: float) -> None:
        left = deadline - self._clock()
        if left > 0:
            waiting = select.poll()
            waiting.register(pipe, event)
            if waiting.poll(left * 1000):
                return
        raise DeadlinePassed

    def _how_it_ended(self) -> str:
        """How the process ended, for people."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it closed its pipe and lives on
            return "the decoder process closed its pipe"
        if code == 70:
            return "the decoder process ran out of memory"
        if code == -signal.SIGXCPU:
            return "the decoder process used up its CPU time"
        if code < 0:
            return f"the decoder process was ended by {_signal_name(-code)}"
        last_line = self._last_error_line()
        return f"the decoder process ended with status {code}" + (f" ({last_line})" if last_line else "")

    def _last_error_line(self) -> str:
        """The last line the process wrote to its standard error."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 4096))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, self._errors):
            if stream is not None:
                stream.close()


def _environment() -> dict[str, str]:
    """What an interpreter needs to find itself and this package, and nothing of the user's."""
    root = str(Path(__file__).resolve().parents[3])  # the folder that holds the package
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**kept, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
