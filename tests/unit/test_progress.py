"""A stop that is asked for ends what changes nothing where it is."""

from __future__ import annotations

import signal

import pytest

from metaferry.errors import Interrupted, exit_code
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
