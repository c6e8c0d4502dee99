"""A server process on a free port: started, asked until it answers, ended with all its children.

Nothing sleeps for a fixed time: readiness is a real request that succeeds, under a deadline. What
the process wrote is shown when it does not come up, or dies.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


class ServerFailed(RuntimeError):
    """The server did not come up; the message holds the end of its log."""


def free_port() -> int:
    """A port that nobody listens on now. The caller takes it at once, or tries again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str, *, statuses: range = range(200, 500)) -> bool:
    """Whether an HTTP server answers there, with anything that is no failure of its own."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return answer.status in statuses
    except urllib.error.HTTPError as error:
        with error:
            return error.code in statuses
    except (OSError, TimeoutError):
        return False


def wait_until(
    condition: Callable[[], bool],
    process: subprocess.Popen[Any],
    *,
    seconds: float = 120.0,
    pause: float = 0.002,
) -> None:
    """Returns as soon as the condition holds; fails when the process ends before, or in two minutes.

    pause: seconds between two looks, for a condition that costs something.
    """
    until = time.monotonic() + seconds
    descriptor = os.pidfd_open(process.pid)
    try:
        while not condition():
            assert process.poll() is None, f"it ended first, with {process.returncode}"
            assert time.monotonic() < until
            select.select([descriptor], [], [], pause)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def server(
    command: Sequence[str],
    *,
    ready: Callable[[], bool],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    deadline: float = 60.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `command` in a process group of its own until the block ends."""
    with tempfile.TemporaryFile(prefix="server-") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        try:
            _wait(process, ready, deadline, log.fileno(), command)
            yield process
        finally:
            _end(process)


def _wait(
    process: subprocess.Popen[bytes],
    ready: Callable[[], bool],
    deadline: float,
    log: int,
    command: Sequence[str],
) -> None:
    until = time.monotonic() + deadline
    descriptor = os.pidfd_open(process.pid)
    try:
        while True:
            if process.poll() is not None:
                raise ServerFailed(f"{command[0]} ended with {process.returncode}:\n{_tail(log)}")
            if ready():
                return
            if time.monotonic() > until:
                raise ServerFailed(f"{command[0]} did not answer in {deadline:.0f} s:\n{_tail(log)}")
            # Wakes up early when the process dies, which is what we would want to know.
            select.select([descriptor], [], [], 0.05)
    finally:
        os.close(descriptor)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, timeout in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
            break
    # Children that outlived their parent are still in its group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log: int, size: int = 4000) -> str:
    end = os.fstat(log).st_size
    return os.pread(log, size, max(0, end - size)).decode(errors="replace")
