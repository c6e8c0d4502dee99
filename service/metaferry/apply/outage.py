"""Whether going on writing is of any use: a store that takes nothing any more ends a run early.

Two signs, either of which is enough: no write went well for as long as `timeout`, though some were
tried; or so many documents in a row failed for one reason. What is left then is left for the next run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from metaferry.errors import StorageError

#: Documents in a row that fail for one reason before the others are left.
IN_A_ROW: Final = 1_000


class Outage:
    """Told of each attempt (`attempted`) and of each document (`written`, `failed`), from any thread.

    `found` is called once, when it is seen. `timeout` is in seconds.
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
        #: What it is, in words that go on after "no document is written any more: "; "" where there is none.
        self.reason = ""

    def attempted(self, error: StorageError | None, now: float) -> None:
        """One attempt to write went well, or met this error, at `now` (monotonic seconds).

        An answer that is final tells nothing.
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
        """There is one."""
        if not self.reason:
            self.reason = reason
            self._found()


def cause_of(error: StorageError) -> str:
    """What is the same of all errors of one kind: no key is in it."""
    words = " ".join(str(part) for part in (error.status, error.code) if part)
    return words or type(error).__name__
