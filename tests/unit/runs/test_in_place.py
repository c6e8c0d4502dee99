"""Documents in place are read by as many threads as the concurrency limit allows, also once it has grown."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from metaferry.progress import Silent
from metaferry.runs.in_place import read_in_place
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Blob, Storage

#: Documents of a slice.
SLICE = 4_096


class Growing:
    """A storage whose concurrency limit rises after the first slice; the third is read by `together` threads
    at once, or not at all."""

    reads_directly = True

    def __init__(self, together: int) -> None:
        self.concurrency_limit = 2
        self.barrier = threading.Barrier(together, timeout=60)

    def read_blocking(
        self, reads: Sequence[tuple[str, int]], *, ended: Callable[[], bool]
    ) -> Sequence[Blob | None]:
        number = int(reads[0][0]) // SLICE
        if number == 0:
            self.concurrency_limit = 12
        if number == 2:
            self.barrier.wait()
        return [Blob(path.encode(), "t", len(path)) for path, _ in reads]


def test_reading_follows_a_limit_that_grows() -> None:
    storage = Growing(together=8)
    rows = [(str(n), 8) for n in range(3 * SLICE)]
    with Portal() as portal:
        found = dict(read_in_place(cast(Storage, storage), portal, rows, Silent()))
    assert found == {name: name.encode() for name, _ in rows}


def test_what_a_thread_could_not_read_is_read_again_where_it_is_retried() -> None:
    class Failing(Growing):
        def read_blocking(self, reads: Sequence[tuple[str, int]], **_: Any) -> Sequence[Blob | None]:
            return [None if path == "7" else Blob(b"x", "t", 1) for path, _ in reads]

        async def read(self, path: str, *_: Any, **__: Any) -> Blob:
            return Blob(b"again", "t", 5)

    with Portal() as portal:
        rows = [(str(n), 5) for n in range(100)]
        found = dict(read_in_place(cast(Storage, Failing(1)), portal, rows, Silent()))
    assert found["7"] == b"again"
    assert found["8"] == b"x"


def test_slices_that_are_read_side_by_side_share_the_threads_of_the_limit() -> None:
    class Counting(Growing):
        def __init__(self) -> None:
            super().__init__(1)
            self.concurrency_limit = 3
            self.lock = threading.Lock()
            self.now = self.most = 0

        def read_blocking(self, reads: Sequence[tuple[str, int]], **_: Any) -> Sequence[Blob | None]:
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            found = [Blob(path.encode(), "t", len(path)) for path, _ in reads]
            with self.lock:
                self.now -= 1
            return found

    storage = Counting()
    rows = [(str(n), 8) for n in range(4 * SLICE)]
    with Portal() as portal:
        found = list(read_in_place(cast(Storage, storage), portal, rows, Silent()))
    assert found == [(name, name.encode()) for name, _ in rows]
    assert storage.most <= 3


def test_what_goes_wrong_in_a_thread_is_raised_where_the_documents_are_used() -> None:
    class Broken(Growing):
        def read_blocking(self, reads: Sequence[tuple[str, int]], **_: Any) -> Sequence[Blob | None]:
            if any(path == str(SLICE + 7) for path, _ in reads):
                raise ZeroDivisionError
            return [Blob(path.encode(), "t", len(path)) for path, _ in reads]

    rows = [(str(n), 8) for n in range(3 * SLICE)]
    with Portal() as portal, pytest.raises(ZeroDivisionError):
        list(read_in_place(cast(Storage, Broken(1)), portal, rows, Silent()))
