"""The worker process: its limits, its deadline, its death, and what a hostile one may say."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import MetaferryError
from metaferry.media.frames import counting
from metaferry.media.frames.decoder_check import DecoderCheck, sample
from metaferry.media.frames.worker import process, protocol
from metaferry.media.frames.worker.process import DeadlinePassed, Worker, WorkerFailed, worker_command
from metaferry.storage.io.portal import Portal
from metaferry.storage.retry.storage import Retrying
from unit.media import synthetic

#: With a worker for every video, whatever its index says.
count_frames = functools.partial(counting.count_frames, level="decode")

SPEAK = """
import os, sys, time
from metaferry.media.frames.worker import protocol as p
def send(kind, payload): os.write(1, p.message(kind, payload))
send(p.HELLO, b"{}")
"""

#: The real worker, but `decode.count` does something first; `size` tells it which video it has.
REAL = """
import os, signal, sys
import _socket
from metaferry.media.frames.worker import decode, main as worker
from metaferry.media.frames.worker.decode import Found
honest = decode.count
def count(file, *, extension, size, threads, times):
    {instead}
    return honest(file, extension=extension, size=size, threads=threads, times=times)
decode.count = count
os._exit(worker.main())
"""


def speaking(body: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-c", SPEAK + body)


def instead(statement: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-c", REAL.format(instead=statement))


def job(size: int) -> dict[str, Any]:
    return {
        "size": size,
        "extension": "mp4",
        "threads": 1,
        "cpu_seconds": 60,
        "level": "decode",
        "times": False,
        "proved": None,
        "fragments": False,
    }


def serve(data: bytes) -> process.Serve:
    return lambda start, length, seconds: data[start : start + length]


@pytest.fixture
def started() -> Any:
    """Makes workers and ends them."""
    workers: list[Worker] = []

    def start(command: tuple[str, ...] | None = None) -> Worker:
        workers.append(Worker(command))
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()


Start = Callable[..., Worker]


def test_one_process_counts_many_videos(started: Start) -> None:
    worker = started()
    pids = set()
    for frames in (9, 10, 1):
        data = synthetic.video(frames)
        assert worker.run(job(len(data)), serve(data), seconds=60)["frames"] == frames
        pids.add(worker.pid)
    assert len(pids) == 1


def test_a_worker_that_is_killed_is_named_and_replaced(started: Start) -> None:
    worker = started()
    data = synthetic.video(9)

    def die(start: int, length: int, seconds: float) -> bytes:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        return data[start : start + length]

    with pytest.raises(WorkerFailed, match="SIGKILL"):
        worker.run(job(len(data)), die, seconds=60)
    assert worker.pid is None
    assert worker.run(job(len(data)), serve(data), seconds=60)["frames"] == 9


def test_a_worker_that_hangs_is_killed_at_the_deadline(started: Start) -> None:
    worker = started(speaking("sys.stdin.buffer.read()\n"))
    with pytest.raises(DeadlinePassed):
        worker.run(job(100), serve(b""), seconds=0.2)
    assert worker.pid is None


def test_a_worker_that_takes_no_bytes_is_killed_at_the_deadline(started: Start) -> None:
    ask = "send(p.READ, p.RANGE.pack(0, 8 << 20)); signal = __import__('signal'); signal.pause()\n"
    worker = started(speaking(ask))
    with pytest.raises(DeadlinePassed):
        worker.run(job(8 << 20), lambda start, length, seconds: bytes(length), seconds=0.5)


@pytest.mark.parametrize(
    ("says", "what"),
    [
        ("send(p.READ, p.RANGE.pack(90, 20))", "a read outside the file"),
        ("send(p.READ, p.RANGE.pack(2**63, 1))", "a read outside the file"),
        ("send(p.READ, p.RANGE.pack(0, 0))", "a read outside the file"),
        ("os.write(1, p.HEADER.pack(p.DONE, 2**32 - 1))", "bytes"),
        ("os.write(1, p.HEADER.pack(b'?', 0))", "kind"),
        ("send(p.DATA, b'xx')", "kind"),
        ("send(p.DONE, b'[1, 2]')", "no JSON object"),
        ("send(p.DONE, b'\\xff')", "no JSON"),
        ("os._exit(3)", "status 3"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
    ],
)
def test_what_is_no_answer_ends_the_worker_and_nothing_else(started: Start, says: str, what: str) -> None:
    worker = started(speaking(f"os.read(0, 1)\n{says}\nsys.stdin.buffer.read()\n"))
    with pytest.raises(WorkerFailed, match=re.escape(what)):
        worker.run(job(100), serve(bytes(100)), seconds=60)
    assert worker.pid is None


@pytest.mark.parametrize(
    "answer",
    [
        '{"frames": -1, "reason": "", "flags": []}',
        '{"frames": true, "reason": "", "flags": []}',
        '{"frames": 5, "reason": "but", "flags": []}',
        '{"frames": null, "reason": "", "flags": []}',
        '{"frames": 5, "reason": "", "flags": [1]}',
        "{}",
    ],
)
def test_an_answer_that_is_none_is_a_crash(
    tmp_path: Path, folder: Retrying, portal: Portal, answer: str
) -> None:
    (tmp_path / "a.mp4").write_bytes(bytes(100))
    done = f"worker.protocol.message(worker.protocol.DONE, {answer.encode()!r})"
    nonsense = f"(lambda self, found: self.send({done}))"
    command = instead(
        "honest_answer = vars(worker).setdefault('honest_answer', worker.Channel.answer)\n"
        f"    worker.Channel.answer = {nonsense} if size == 100 else honest_answer"
    )
    [count] = count_frames(folder, portal, [("a.mp4", 100, "")], workers=1, command=command)
    assert count.frames is None
    assert count.reason.startswith("crashed: ")
    assert not count.settled


def test_a_worker_that_cannot_start_says_why(started: Start) -> None:
    worker = started((sys.executable, "-c", "import a_module_that_is_not_there"))
    with pytest.raises(MetaferryError, match="a_module_that_is_not_there"):
        worker.run(job(1), serve(b"x"), seconds=60)


def test_a_failing_read_is_raised_and_the_worker_replaced(started: Start) -> None:
    worker = started()
    data = synthetic.video(9)

    def fail(start: int, length: int, seconds: float) -> bytes:
        raise ConnectionError("the line is dead")

    with pytest.raises(ConnectionError, match="the line is dead"):
        worker.run(job(len(data)), fail, seconds=60)
    assert worker.run(job(len(data)), serve(data), seconds=60)["frames"] == 9


def test_one_crash_costs_one_video(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    for name, frames in (("a", 5), ("b", 6), ("c", 7)):
        (tmp_path / f"{name}.mp4").write_bytes(synthetic.video(frames))
    bad = (tmp_path / "b.mp4").stat().st_size
    videos = [(f.name, f.stat().st_size, "") for f in sorted(tmp_path.iterdir())]
    counts = {
        c.path: c
        for c in count_frames(
            folder,
            portal,
            videos,
            workers=1,
            command=instead(f"if size == {bad}: os.kill(os.getpid(), signal.SIGSEGV)"),
        )
    }
    assert (counts["a.mp4"].frames, counts["c.mp4"].frames) == (5, 7)
    assert counts["b.mp4"].reason == "crashed: the decoder process was ended by SIGSEGV"


@pytest.mark.slow
def test_one_endless_video_costs_its_deadline(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    (tmp_path / "a.mp4").write_bytes(synthetic.video(5))
    (tmp_path / "b.mp4").write_bytes(synthetic.video(600))
    endless = (tmp_path / "b.mp4").stat().st_size
    videos = [(f.name, f.stat().st_size, "") for f in sorted(tmp_path.iterdir())]
    counts = {
        c.path: c
        for c in count_frames(
            folder,
            portal,
            videos,
            workers=1,
            deadline=5,
            command=instead(f"while size == {endless}: pass"),
        )
    }
    assert counts["a.mp4"].frames == 5
    assert counts["b.mp4"].reason == "deadline: not counted within 5 s"
    assert not counts["b.mp4"].settled


def test_memory_is_limited(folder: Retrying, portal: Portal, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(synthetic.video(5))
    [count] = count_frames(
        folder,
        portal,
        [("a.mp4", (tmp_path / "a.mp4").stat().st_size, "")],
        workers=1,
        command=instead(f"if size != {len(sample())}: bytearray(5 << 30)"),
    )
    assert count.reason == "crashed: the decoder process ran out of memory"


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("raise TypeError('open() got an unexpected keyword argument')", "TypeError: open() got"),
        ("os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
        ("bytearray(5 << 30)", "ran out of memory"),
        ("os._exit(9)", "status 9"),
        (
            "if size != %d: os._exit(9)\n    return Found(None, 'no decoder for its codec')",
            "no decoder for its",
        ),
    ],
)
def test_a_decoder_that_crashes_on_every_video_is_one_error_and_no_reject(
    folder: Retrying, portal: Portal, tmp_path: Path, fault: str, how: str
) -> None:
    for name in "abcdef":
        (tmp_path / f"{name}.mp4").write_bytes(synthetic.video(5))
    videos = [(f.name, f.stat().st_size, "") for f in sorted(tmp_path.iterdir())]
    if "%d" in fault:
        fault %= len(sample())
    with pytest.raises(MetaferryError, match=f"the decoder does not work here: .*{re.escape(how)}") as raised:
        list(count_frames(folder, portal, videos, workers=2, command=instead(fault)))
    assert "no video is at fault" in raised.value.advice


def test_the_sample_is_a_video_that_this_decoder_counts(started: Start) -> None:
    DecoderCheck().require(started())


@pytest.mark.slow
def test_cpu_time_is_limited_where_nobody_is_left_to_kill() -> None:
    spin = "from metaferry.media.frames.worker.main import limit_cpu\nlimit_cpu(0)\nwhile True: pass"
    done = subprocess.run(
        [sys.executable, "-P", "-c", spin], env=process._environment(), timeout=60, check=False
    )
    assert done.returncode == -signal.SIGXCPU


def test_the_worker_ends_when_the_run_is_gone() -> None:
    pipe = subprocess.Popen(
        worker_command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=process._environment(),
    )
    with pipe:
        assert pipe.stdout is not None
        assert pipe.stdin is not None
        assert pipe.stdout.read(1) == protocol.HELLO
        pipe.stdin.close()
        assert pipe.wait(timeout=30) == 0


def told(statement: str, folder: Retrying, portal: Portal, tmp_path: Path) -> str:
    """What the statement finds out inside a real worker, after its limits are in place."""
    (tmp_path / "a.mp4").write_bytes(synthetic.video(5))
    size = (tmp_path / "a.mp4").stat().st_size
    [count] = count_frames(
        folder, portal, [("a.mp4", size, "")], workers=1, command=instead(f"return Found(None, {statement})")
    )
    return count.reason


def test_the_worker_sees_no_secret(
    monkeypatch: pytest.MonkeyPatch, folder: Retrying, portal: Portal, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    seen = told("'unreadable: ' + repr(dict(os.environ))", folder, portal, tmp_path)
    assert "PYTHONPATH" in seen
    assert "hunter2" not in seen
    assert "AWS" not in seen


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd')",
        "open('written-by-worker', 'w')",
        "_socket.socket(2, 1)",
    ],
)
def test_the_worker_can_open_nothing(folder: Retrying, portal: Portal, tmp_path: Path, attempt: str) -> None:
    tried = f"""
    try: {attempt}
    except OSError as error: return Found(None, 'unreadable: errno %d' % error.errno)
    return Found(None, 'unreadable: it opened')
    """.strip()
    (tmp_path / "a.mp4").write_bytes(synthetic.video(5))
    size = (tmp_path / "a.mp4").stat().st_size
    command = instead(tried)
    [count] = count_frames(folder, portal, [("a.mp4", size, "")], workers=1, command=command)
    assert count.reason == "unreadable: errno 24"


def test_closing_early_ends_the_processes(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    for number in range(12):
        (tmp_path / f"{number}.mp4").write_bytes(synthetic.video(5 + number))
    small = (tmp_path / "0.mp4").stat().st_size
    pids = tmp_path / "pids"
    pids.touch()
    # Opened before the limits are in place: only descriptors that exist can be written to.
    command = (
        sys.executable,
        "-P",
        "-c",
        f"import os\nlog = os.open({str(pids)!r}, os.O_WRONLY | os.O_APPEND)\n"
        + REAL.format(instead=f"os.write(log, b'%d ' % os.getpid())\n    while size != {small}: pass"),
    )
    videos = [(f"{number}.mp4", (tmp_path / f"{number}.mp4").stat().st_size, "") for number in range(12)]
    counts = count_frames(folder, portal, videos, workers=2, command=command)
    assert next(iter(counts)).frames == 5
    counts.close()  # type: ignore[attr-defined]
    started = {int(pid) for pid in pids.read_text().split()}
    assert started
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class FakeChannel:
    """Counts what a RemoteFile asks for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def read(self, start: int, length: int) -> bytes:
        self.asked.append((start, length))
        return self.data[start : start + length]


def remote(data: bytes) -> tuple[Any, FakeChannel]:
    from metaferry.media.frames.worker.main import RemoteFile

    channel = FakeChannel(data)
    return RemoteFile(channel, len(data)), channel  # type: ignore[arg-type]


def test_reading_in_order_soon_costs_one_request_in_eight_mib() -> None:
    data = os.urandom(1 << 20) * 40
    file, channel = remote(data)
    parts = []
    while part := file.read(64 << 10):
        parts.append(part)
    assert b"".join(parts) == data
    assert len(channel.asked) == 8  # 1 + 2 + 4 + 8 + 8 + 8 + 8 + 1 MiB
    assert max(length for _, length in channel.asked) == protocol.MAX_READ


def test_going_back_and_forth_between_index_and_samples_asks_once() -> None:
    data = os.urandom(1 << 20) * 20
    file, channel = remote(data)
    for _ in range(50):
        file.seek(0)
        assert file.read(100) == data[:100]
        file.seek(-500, 2)
        assert file.read(1000) == data[-500:]
        file.seek(10 << 20)
        assert file.read(100) == data[10 << 20 : (10 << 20) + 100]
    assert len(channel.asked) == 3


def test_the_end_of_the_file_is_no_request() -> None:
    file, channel = remote(b"abc")
    assert file.read(10) == b"abc"
    assert file.read(10) == b""
    assert file.seek(100) == 100
    assert file.read(10) == b""
    assert file.seek(-1, 2) == 2
    assert file.read() == b"c"
    assert channel.asked == [(0, 3)]
    with pytest.raises(OSError, match="before the start"):
        file.seek(-1)


def test_a_system_that_starts_no_process_is_said_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **more: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(process.subprocess, "Popen", refused)
    with pytest.raises(MetaferryError, match="cannot be started: Resource temporarily unavailable"):
        Worker().run(job(1), lambda start, length, seconds: b"", seconds=5.0)
