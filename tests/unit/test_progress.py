"""A stop that is asked for ends what changes nothing where it is."""

from __future__ import annotations

import signal

import pytest

from metaferry.errors import Interrupted, LeaseLost, exit_code
from metaferry.progress import Silent, Stop, Stopping


def test_nothing_happens_until_it_is_asked_for() -> None:
    progress = Stopping(Silent(), Stop())
    progress.phase("Listing", None)
    progress.advance(1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_next_step_raises_with_the_signals_exit_code(number: int, code: int) -> None:
    stop = Stop()
    progress = Stopping(Silent(), stop)
    stop.request(number)
    with pytest.raises(Interrupted) as caught:
        progress.advance(1)
    assert exit_code(caught.value) == code


def test_the_first_signal_is_the_one_that_counts() -> None:
    stop = Stop()
    stop.request(signal.SIGTERM)
    stop.request(signal.SIGINT)
    assert stop.signal == signal.SIGTERM


def test_an_abandoned_run_raises_why_and_tells_its_listeners_once() -> None:
    stop, heard = Stop(), []
    stop.listen(lambda: heard.append(1))
    lost = LeaseLost("gone")
    stop.abandon(lost)
    stop.abandon(LeaseLost("again"))
    assert (stop.requested, stop.abandoned, stop.error, stop.signal, heard) == (True, lost, lost, None, [1])
    with pytest.raises(LeaseLost, match="gone"):
        Stopping(Silent(), stop).advance(1)


def test_a_guard_is_asked_by_whoever_looks() -> None:
    stop, lost = Stop(), LeaseLost("gone")
    answers: list[LeaseLost | None] = [None, lost]
    stop.guard(lambda: answers.pop(0))
    assert not stop.requested
    assert stop.requested
    assert stop.abandoned is lost
    assert answers == [], "not asked again"


def test_a_guard_that_was_taken_away_is_not_asked() -> None:
    stop = Stop()
    stop.guard(lambda: LeaseLost("gone"))
    stop.guard(None)
    assert not stop.requested


def test_why_it_was_abandoned_outweighs_a_signal() -> None:
    stop, lost = Stop(), LeaseLost("gone")
    stop.request(signal.SIGTERM)
    stop.abandon(lost)
    assert (stop.error, stop.signal) == (lost, signal.SIGTERM)
