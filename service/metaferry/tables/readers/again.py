"""Asks again what a database or a catalog did not answer, as a whole: nothing of a broken answer stays."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from metaferry.errors import Denied, StorageError

if TYPE_CHECKING:
    from metaferry.tables.readers.contract import Given

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Times that something is asked again even where one answer alone takes longer than `retry_for`.
_AT_LEAST: Final = 2
#: Seconds of the first wait, which doubles, and of the longest.
_FIRST: Final = 0.5
_LONGEST: Final = 20.0
#: Seconds between two looks at whether the answer is still wanted.
_LOOK: Final = 0.2


class Again:
    """How often and when something is asked again: within `retry_for` seconds of its first failure, and twice
    in any case. With 0 it is asked once.

    `still_wanted` is called while there is nothing but to wait; what it raises ends the wait.
    """

    def __init__(
        self,
        retry_for: float,
        still_wanted: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._retry_for = retry_for
        self._still_wanted = still_wanted
        self._clock = clock
        self._sleep = sleep or _sleep
        self._since: float | None = None
        self.count = 0

    def after(self, error: StorageError) -> bool:
        """Whether to ask again after this error; it has waited then. It is told in the log."""
        if not error.retryable or self._retry_for <= 0:
            return False
        now = self._clock()
        self._since = now if self._since is None else self._since
        if self.count >= _AT_LEAST and now - self._since >= self._retry_for:
            return False
        self.count += 1
        wait = min(_FIRST * 2 ** (self.count - 1), _LONGEST)
        log.warning("%s; all of it is asked again in %g s", error.message, wait)
        until = now + wait
        while (left := until - self._clock()) > 0:
            self._still_wanted()
            self._sleep(min(left, _LOOK))
        return True

    def call(self, ask: Callable[[], T]) -> T:
        """What `ask` answers, asked again after errors that may pass."""
        while True:
            try:
                return ask()
            except StorageError as error:
                if not self.after(error):
                    raise


def with_new_secrets(given: Given, open_it: Callable[[Given], T]) -> T:
    """What `open_it` answers; asked again where it is refused and whoever rotates secrets has replaced a file
    of them (`${file:…}`) meanwhile."""
    while True:
        try:
            return open_it(given)
        except Denied as error:
            newer = given.renewed()
            if newer is None:
                raise
            log.info("%s; asked again with what the files of its secrets hold now", error.message)
            given = newer


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)
