"""How Iceberg's library reads the files of a table: by the storage contract, with the options of the job.

The library's own classes take options by names of their own, which leaves some out, and wait in threads that
no signal ends.
"""

from __future__ import annotations

import contextlib
import posixpath
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NoReturn, TypeVar

from pyiceberg.io import FileIO, InputFile

from metaferry.errors import NotFound, StorageError
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.io.reader import RangeFile
from metaferry.storage.protocol import Storage
from metaferry.urls import split_scheme

T = TypeVar("T")

#: Schemes without a bucket. In what a table says no character is quoted.
_FOLDERS: Final = frozenset({"", "file", "local"})
#: Requests at once.
_CONCURRENCY: Final = 16


class JobFileIO(FileIO):
    """The files of one table, to be read. `options` are fsspec's, for the scheme of the table.

    `close` may be called from any thread: reads that are under way are cancelled, and later ones fail.
    """

    def __init__(self, options: Mapping[str, Any], *, retry_for: float) -> None:
        super().__init__({})
        self._options = dict(options)
        self._retry_for = retry_for
        self._storages: dict[str, Storage] = {}
        self._lock = threading.Lock()
        self._portal = _EndingPortal()
        self._opened = contextlib.ExitStack()
        self._opened.enter_context(self._portal)

    def new_input(self, location: str) -> StoredFile:
        """The file at a URL or a path of this machine."""
        storage, path = self._at(location)
        return StoredFile(location, lambda: RangeFile(storage, self._portal, path))

    def new_output(self, location: str) -> NoReturn:
        """Nothing is ever written."""
        raise NotImplementedError(location)

    def delete(self, location: Any) -> NoReturn:
        """Nothing is ever deleted."""
        raise NotImplementedError(location)

    def metadata_files(self, folder: str) -> list[str]:
        """The names of the metadata files in the folder of a table, as it is now."""
        storage, prefix = self._at(f"{folder.rstrip('/')}/metadata/")

        async def found() -> list[str]:
            return [entry.path async for page in storage.list(prefix) for entry in page]

        try:
            return [path.rpartition("/")[2] for path in self._portal.run(found())]
        except NotFound:
            if "://" in folder:  # the bucket is not there
                raise
            return []

    def close(self) -> None:
        """Ends all reads."""
        if self._portal.begin_to_end():
            with self._opened, self._lock:
                for storage in self._storages.values():
                    with contextlib.suppress(StorageError):  # of a client that is thrown away
                        self._portal.run(storage.close())

    def _at(self, location: str) -> tuple[Storage, str]:
        """What is opened for a location, a bucket or a folder of this machine, and the path below it."""
        scheme, rest = split_scheme(location)
        if scheme in _FOLDERS:
            root, path = posixpath.split(rest.rstrip("/"))
            path += "/" if rest.endswith("/") else ""
        else:
            bucket, _, path = rest.partition("/")
            root = f"{'s3' if scheme == 's3n' else scheme}://{bucket}"
        with self._lock:
            if root not in self._storages:
                self._storages[root] = open_storage(
                    root,
                    {} if scheme in _FOLDERS else self._options,
                    concurrency=_CONCURRENCY,
                    retry_for=self._retry_for,
                )
            return self._storages[root], path


class StoredFile(InputFile):
    """One object, as the library wants to have it."""

    def __init__(self, location: str, opened: Callable[[], RangeFile]) -> None:
        super().__init__(location)
        self._opened = opened

    def __len__(self) -> int:
        return self._opened().size

    def exists(self) -> bool:
        """Whether it is there."""
        try:
            return len(self) >= 0
        except NotFound:
            return False

    def open(self, seekable: bool = True) -> Any:
        """Its bytes, from the first."""
        return self._opened()


class _EndingPortal(Portal):
    """A portal that any thread may end while others wait in it: their work is cancelled, and later work is
    refused, so that none of them waits for a loop that has stopped."""

    def __init__(self) -> None:
        super().__init__()
        self._gate = threading.Lock()
        self._ended_by: threading.Thread | None = None

    def begin_to_end(self) -> bool:
        """From here on this thread alone may run anything; False where another one has said so before."""
        with self._gate:
            first = self._ended_by is None
            self._ended_by = self._ended_by or threading.current_thread()
            return first

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._gate:
            if self._ended_by not in (None, threading.current_thread()):
                work.close()
                raise _Ended
            future = self.start(work)
        return self.wait(future)


class _Ended(Exception):
    """Nobody wants the bytes of the table any more."""
