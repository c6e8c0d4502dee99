"""The outcomes of the steps of a plan: one each, counted and passed on, from any thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from metaferry.apply.outage import Outage
from metaferry.planning.formats import Action, Outcome

#: Failures and replaced documents of others that the report names one by one.
_NAMED = 100


class Applied(NamedTuple):
    """What became of one step. `token` and `md5` are what is in place now, null after a delete.

    `foreign` says that somebody else wrote the document during the run, and that it was planned
    again on what they wrote.
    """

    target: str
    action: Action
    outcome: Outcome
    token: str | None
    md5: str | None
    message: str = ""
    foreign: bool = False
    size: int = 0  # bytes of the body
    advice: str = ""  # beside `message`, where running it again is not all there is to do
    cause: str = ""  # why it failed, without its name: the same for all that failed for one reason


@dataclass(slots=True)
class Tally:
    """Counts of what was applied; the rows themselves went to `record`."""

    create: int = 0
    update: int = 0
    delete: int = 0
    failed: int = 0  # writes; a delete that failed is in `not_deleted`
    conflict: int = 0
    not_deleted: int = 0
    refused: int = 0  # those of `failed` and `not_deleted` that would fail again
    foreign: int = 0  # written although somebody else wrote them during the run
    bytes: int = 0
    stopped: bool = False
    outage: str = ""  # why the rest was left for the next run: the store takes nothing any more
    failures: list[Applied] = field(default_factory=list)  # the first hundred, for the report
    replaced: list[Applied] = field(default_factory=list)  # the same of `foreign`

    def add(self, applied: Applied) -> None:
        if applied.outcome is Outcome.DONE:
            if applied.action is Action.CREATE:
                self.create += 1
            elif applied.action is Action.UPDATE:
                self.update += 1
            else:
                self.delete += 1
            self.bytes += applied.size
            if applied.foreign:
                self.foreign += 1
                if len(self.replaced) < _NAMED:
                    self.replaced.append(applied)
            return
        self.refused += applied.outcome is Outcome.REFUSED
        if applied.action is Action.DELETE:
            self.not_deleted += 1
        elif applied.outcome is Outcome.CONFLICT:
            self.conflict += 1
        else:
            self.failed += 1
        if len(self.failures) < _NAMED:
            self.failures.append(applied)


class OutcomeRecorder:
    """Collects outcomes from all threads and passes them on, one batch at a time, until `close`.

    No thread waits for another: one that finds the lock taken leaves its outcomes to the thread that
    has it, or to the next.
    """

    def __init__(
        self,
        record: Callable[[Sequence[Applied]], None],
        tally: Tally,
        advance: Callable[[int], None],
        outage: Outage | None = None,
    ) -> None:
        self._outage = outage if outage is not None else Outage()
        self._record = record
        self._tally = tally
        self._advance = advance
        self._pending: deque[Sequence[Applied]] = deque()
        self._lock = threading.Lock()
        self._open = True

    def add(self, outcomes: Sequence[Applied]) -> None:
        """Each step is added exactly once."""
        if self._open and outcomes:
            self._pending.append(outcomes)
            if self._lock.acquire(blocking=False):
                try:
                    self._flush()
                finally:
                    self._lock.release()

    def close(self) -> None:
        """Passes on what is left. A request that ends later was given up: its outcome is not known."""
        with self._lock:
            self._flush()
            self._open = False

    def _flush(self) -> None:
        while self._open and self._pending:
            outcomes = self._pending.popleft()
            self._record(outcomes)
            for applied in outcomes:
                self._tally.add(applied)
                if applied.outcome is Outcome.DONE:
                    self._outage.written()
                elif applied.outcome is not Outcome.CONFLICT:
                    self._outage.failed(applied.cause)
            self._advance(len(outcomes))
