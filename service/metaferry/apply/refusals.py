"""Refusals that may concern one document or all: kept until the others show which.

A policy on a prefix and a permission that is missing altogether give the same 403. While other documents
are written it concerns the one. Where none was written, after a few documents, a permission is missing;
after many in a row with none written in between, it was lost. Safe from any thread. Makes no request.
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

#: Refusals that show a missing permission: where nothing was written yet, and in a row after that.
FEW: Final = 20
MANY: Final = 1_000


class OutcomeSink(Protocol):
    """Where outcomes go, from any thread."""

    def add(self, outcomes: Sequence[Applied]) -> None: ...


class Refusals:
    """Passes outcomes to `recorder`, and each kept refusal once it is known to concern that document alone.

    `written`: whether documents of this kind of change were written before, by others that share `recorder`.
    """

    def __init__(self, recorder: OutcomeSink, *, written: bool = False) -> None:
        self._recorder = recorder
        self._written = written
        self._undecided: list[tuple[Step, StorageError]] = []
        self._lock = threading.Lock()

    def add(self, outcomes: Sequence[Applied]) -> None:
        if (self._undecided or not self._written) and any(each.outcome is Outcome.DONE for each in outcomes):
            self._release()
        self._recorder.add(outcomes)

    @property
    def undecided(self) -> bool:
        """Whether something was refused, and nothing written."""
        return bool(self._undecided) and not self._written

    def hold(self, step: Step, error: StorageError) -> StorageError | None:
        """Keeps a refusal; returns the error that ends the run, once it is known to concern all."""
        with self._lock:
            self._undecided.append((step, error))
            if len(self._undecided) < (MANY if self._written else FEW):
                return None
            return self._undecided[0][1]

    def settle(self) -> StorageError | None:
        """At the end: passes on what is kept, or returns the error where nothing was written at all."""
        if self.undecided:
            return self._undecided[0][1]
        self._release()
        return None

    def _release(self) -> None:
        with self._lock:
            kept, self._undecided, self._written = self._undecided, [], True
        if kept:
            self._recorder.add([not_done(step, Outcome.REFUSED, error) for step, error in kept])
