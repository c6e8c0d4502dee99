"""Progress in a log and on a terminal, the log's formats, and the signals."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

import metaferry
from metaferry.cli.show.logs import start_logging
from metaferry.cli.show.progress import Bars, Lines
from metaferry.cli.signals import stopping
from metaferry.progress import Silent, Stop


def test_a_line_tells_what_is_being_done() -> None:
    now = [0.0]
    lines = Lines(lambda text: None, clock=lambda: now[0])
    assert lines.line() == ""
    lines.phase("Listing media", None)
    now[0] = 4.0
    assert lines.line() == "Listing media (4.0 s)"
    lines.advance(1000)
    lines.advance(1000)
    assert lines.line() == "Listing media: 2,000, 500/s (4.0 s)"
    lines.phase("Writing \x1bdocuments", 5000)
    now[0] = 6.0
    lines.advance(100)
    assert lines.line() == "Writing \\x1bdocuments: 100 of 5,000, 50/s (2.0 s)"


def test_a_line_tells_how_much_was_read() -> None:
    now = [0.0]
    lines = Lines(lambda text: None, clock=lambda: now[0])
    lines.phase("Counting frames", 80)
    lines.advance(1, 16_384)
    lines.advance(1, 3_000_000)
    now[0] = 1.0
    assert lines.line() == "Counting frames: 2 of 80, 2/s, 3.0 MB read (1.0 s)"
    lines.phase("Planning", None)
    assert lines.line() == "Planning (0.0 s)"


def test_bars_tell_how_much_was_read() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Bars(console) as bars:
        bars.phase("Counting frames", None)
        bars.advance(3, 3_000_000)
        bars.note("shown")
    assert "3.0 MB read" in console.file.getvalue()  # type: ignore[attr-defined]


def test_results_in_a_pipe_stay_there_while_bars_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    master, terminal = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "metaferry", "frames", str(tmp_path / "a.mp4")],
            stdout=subprocess.PIPE,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm", "PYTHONPATH": str(Path(metaferry.__file__).parents[1])},
            check=False,
        )
    finally:
        os.close(terminal)
    drawn = os.read(master, 1 << 16)
    os.close(master)
    assert done.returncode == 3
    assert json.loads(done.stdout)["frames"] is None
    assert b"Counting frames" in drawn


def test_lines_come_by_themselves_and_end_with_the_block() -> None:
    said: list[str] = []
    came = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        came.set()

    with Lines(say, every=0.001) as lines:
        lines.phase("Planning", None)
        assert came.wait(30)
        lines.note("a [note]\n")
    assert said[0].startswith("Planning (")
    assert "a [note]\\x0a" in said
    assert "metaferry-progress" not in [thread.name for thread in threading.enumerate()]


def test_a_short_run_says_nothing() -> None:
    said: list[str] = []
    with Lines(said.append) as lines:
        lines.phase("Planning", None)
        lines.advance(5)
    assert said == []


def test_bars_draw_and_go_away() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    with Bars(console) as bars:
        bars.phase("Listing [red]media", None)
        bars.advance(1200)
        bars._rich.refresh()
        bars.phase("Writing", 10)
        bars.advance(4)
        bars._rich.refresh()
        bars.note("look [here]")
    text = file.getvalue()
    for part in ("Listing [red]media", "1,200", "4 of 10", "look [here]"):
        assert part in text


def test_silent_does_nothing() -> None:
    silent = Silent()
    assert silent.phase("x", 1) is silent.advance(1) is silent.note("x") is None  # type: ignore[func-returns-value]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger("metaferry")
    levels = root.level, ours.level
    file = io.StringIO()
    before = list(root.handlers)
    yield file
    root.handlers[:] = before
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.captureWarnings(False)


def test_the_log_as_text(log: io.StringIO) -> None:
    start_logging(Console(file=log, soft_wrap=True), quiet=False, verbose=0, as_json=False)
    logging.getLogger("metaferry.x").info("not shown")
    logging.getLogger("metaferry.x").warning("[red]%s", "a\nb")
    (line,) = log.getvalue().splitlines()
    assert line.endswith("warning metaferry.x: [red]a\\x0ab")


def test_the_log_as_json_and_levels(log: io.StringIO) -> None:
    console = Console(file=log, soft_wrap=True)
    start_logging(console, quiet=False, verbose=2, as_json=True)
    logging.getLogger("metaferry.x").debug("one")
    logging.getLogger("botocore").debug("Authorization: signed")
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("metaferry.x").exception("two")
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [("debug", "one"), ("error", "two")]
    assert lines[1]["exception"].endswith('raise ValueError("why")\nValueError\n'), (
        "its text may quote a secret"
    )
    start_logging(console, quiet=True, verbose=0, as_json=True)
    logging.getLogger("metaferry.x").warning("three")
    assert "three" not in log.getvalue()


def test_a_stop_remembers_the_first_signal() -> None:
    stop = Stop()
    assert (stop.requested, stop.signal) == (False, None)
    stop.request(signal.SIGTERM)
    stop.request(signal.SIGINT)
    assert (stop.requested, stop.signal) == (True, 15)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks(number: signal.Signals) -> None:
    said: list[str] = []
    before = signal.getsignal(number)
    with stopping(said.append) as stop:
        os.kill(os.getpid(), number)
        assert stop.requested
        assert stop.signal == number
        assert "a second signal" in said[0]
    assert signal.getsignal(number) == before


def test_the_second_signal_ends_at_once() -> None:
    code = (
        "import os, signal, threading\n"
        "from metaferry.cli.signals import stopping\n"
        "with stopping(lambda text: None) as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    assert stop.requested\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    threading.Event().wait(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(metaferry.__file__).parent.parent)},
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGTERM
