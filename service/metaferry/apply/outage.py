"""Detects that a store accepts no writes any more, which ends a run early.

Two signs, either of which is enough: no write succeeded for as long as `timeout`, though some were
tried; or so many documents in a row failed for one reason. The rest is left for the next run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from metaferry.errors import StorageError

#: Documents in a row that fail for one reason before the others are left.
IN_A_ROW: Final = 1_000


class Outage:
    """Counts attempts (`attempted`) and documents (`written`, `failed`), from any thread.

    `found` is called once, when there is an outage. `timeout` is in seconds.
    """

    def __init__(
        self,
        timeout: float = float("inf"),
        *,
        found: Callable[[], None] = lambda: None,
    ) -> None:
        self._timeout = timeout
        self._found = found
        self._failing_since: float | None = None
        self._cause = ""  # of the documents that failed in a row
        self._in_a_row = 0
        #: The reason, to follow "no document is written any more: "; "" where there is no outage.
        self.reason = ""

    def attempted(self, error: StorageError | None, now: float) -> None:
        """One attempt to write succeeded, or failed with this error, at `now` (monotonic seconds).

        An error that is not retryable counts as neither.
        """
        if error is None:
            self._failing_since = None
        elif error.retryable:
            since = self._failing_since
            if since is None:
                self._failing_since = now
            elif now - since >= self._timeout:
                self.see(f"none went well for {now - since:.0f} s ({cause_of(error)})")

    def written(self) -> None:
        self._in_a_row = 0

    def failed(self, cause: str) -> None:
        """A document failed for good; `cause` is the same for all that failed for one reason."""
        self._in_a_row = self._in_a_row + 1 if cause == self._cause else 1
        self._cause = cause
        if self._in_a_row >= IN_A_ROW:
            self.see(f"{self._in_a_row:,} in a row failed for one reason ({cause})")

    def see(self, reason: str) -> None:
        """There is an outage."""
        if not self.reason:
            self.reason = reason
            self._found()


def cause_of(error: StorageError) -> str:
    """Status and code, or the type: the same for all errors of one kind, without a key."""
    cause = " ".join(str(part) for part in (error.status, error.code) if part)
    return cause or type(error).__name__
