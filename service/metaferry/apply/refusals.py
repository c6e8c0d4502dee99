"""Refusals that may be one document's or everybody's: held until it shows which.

A 403 with the same words comes from a policy on a prefix and from a right that is missing altogether.
While others are written it is the document's own. Where none was, after a few documents, it is a
missing right; and after many in a row with none written in between, one that was lost. Safe from any
thread. Makes no request.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, Protocol

from metaferry.apply.outcome import Applied
from metaferry.apply.shards import Step
from metaferry.apply.step import not_done
from metaferry.errors import StorageError
from metaferry.planning.formats import Outcome

#: Refusals after which a right is missing: where nothing was written yet, and in a row after that.
FEW: Final = 20
MANY: Final = 1_000


class Outcomes(Protocol):
    """Where outcomes go, from any thread."""

    def add(self, outcomes: Sequence[Applied]) -> None: ...


class Refusals:
    """Hands outcomes on to `recorder`, and each held refusal once it is known to be the document's own.

    `written`: whether documents of this kind of change were written before, by whoever shares `recorder`.
    """

    def __init__(self, recorder: Outcomes, *, written: bool = False) -> None:
        self._recorder = recorder
        self._written = written
        self._held: list[tuple[Step, StorageError]] = []
        self._lock = threading.Lock()

    def add(self, outcomes: Sequence[Applied]) -> None:
        if (self._held or not self._written) and any(each.outcome is Outcome.DONE for each in outcomes):
            self._release()
        self._recorder.add(outcomes)

    @property
    def undecided(self) -> bool:
        """Whether something was refused, and nothing written."""
        return bool(self._held) and not self._written

    def hold(self, step: Step, error: StorageError) -> StorageError | None:
        """Takes a refusal; the error that ends the run, where it is now known to be everybody's."""
        with self._lock:
            self._held.append((step, error))
            if len(self._held) < (MANY if self._written else FEW):
                return None
            return self._held[0][1]

    def settle(self) -> StorageError | None:
        """At the end: hands on what is held, or gives the error where nothing was written at all."""
        if self.undecided:
            return self._held[0][1]
        self._release()
        return None

    def _release(self) -> None:
        with self._lock:
            held, self._held, self._written = self._held, [], True
        if held:
            self._recorder.add([not_done(step, Outcome.REFUSED, error) for step, error in held])
