"""A datasource in a local folder, with atomic puts.

A put writes a temporary file in the folder of its target, syncs it, and renames it over the target;
a create links it, which fails where the target exists. A crash leaves the temporary file: it is never
listed, and the first put of a later run removes those that its own listing passed.
Where something is to be replaced or deleted, a lock of the file in place makes `only_if` hold between
metaferry processes (`locks.py`); a foreign program that writes in the microseconds between check
and rename is not seen.

Symbolic links are followed for reading and listing (a link that leads back to one of its own
parents is not). Nothing is written through a link to a folder (`links.py`), and a put replaces the
link itself and never what it points to. Empty folders are left behind by deletes: another writer may be
about to use them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import time
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Final, TypeVar

from metaferry.errors import (
    Changed,
    Corrupt,
    Denied,
    NotFound,
    StorageError,
    Unavailable,
    Unsupported,
)
from metaferry.storage.base import ThreadedAdapter
from metaferry.storage.errors import Failure, Operation, errno_failure
from metaferry.storage.keys import md5_hex
from metaferry.storage.listing.paging import Cursor, next_page
from metaferry.storage.local.atomic import (
    is_stale,
    limits_of,
    make_folders,
    synced_names,
    temporary_name,
    write_synced,
)
from metaferry.storage.local.disk_names import from_disk, to_disk
from metaferry.storage.local.links import ADVICE, OPTION, link_out
from metaferry.storage.local.locks import StillLocked, in_place, locked
from metaferry.storage.local.walk import Walk, token_of
from metaferry.storage.protocol import ABSENT, ANYTHING, Blob, Capabilities, Page, Precondition, PutResult

T = TypeVar("T")
#: Error numbers of a file system without hard links, or without more for this file.
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)

log = logging.getLogger(__name__)


class LocalAdapter(ThreadedAdapter):
    """The folder `root` as a datasource. `url` is what messages call it.

    `threads` bounds the blocking calls under way, `page_size` the entries of a page. `linked_folders`
    are places outside `root` that symbolic links may lead writes to. `clock` is the time in seconds since
    1970 (for the age of temporary files).
    """

    store = "local"

    def __init__(
        self,
        root: str | PathLike[str],
        *,
        url: str | None = None,
        threads: int = 16,
        page_size: int | None = None,
        linked_folders: Sequence[str] = (),
        clock: Callable[[], float] | None = None,
    ) -> None:
        # Not Path.resolve: a datasource reached through a link keeps the name the user gave it.
        self._root = os.path.abspath(to_disk(os.fspath(root)))
        super().__init__(
            url=url if url is not None else from_disk(self._root),
            capabilities=Capabilities(listing_md5=False, conditional=True, key_limits=limits_of(self._root)),
            threads=threads,
            page_size=page_size,
        )
        self._linked_folders = [to_disk(folder) for folder in linked_folders]
        self._clock = clock if clock is not None else _time_of_day
        self._walk = Walk(self._root, self._url)

    def put_blocking(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        return self._translated("put", path, lambda: self._put(path, data, only_if))

    def remove_empty(self, folder: str) -> None:
        """Removes a folder and its subfolders where they have no files. Blocks for a short time."""
        top = self._file(folder, "delete")
        if self.link_out(folder) is None:
            for at, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):  # not empty, or removed meanwhile
                    os.rmdir(at)

    # -- in a thread

    def _translated(self, operation: Operation, path: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except StorageError:
            raise
        except StillLocked as error:
            raise Unavailable(
                f'{self._url}: "{path}" stays locked by {error.holder}',
                url=self._url,
                path=path,
                code="ETIMEDOUT",
                advice="end that process, or let it go on",
            ) from None
        except OSError as error:
            if operation == "list" and isinstance(error.filename, bytes) and error.filename != self._root:
                path = from_disk(os.path.relpath(error.filename, self._root))  # which folder below it
            raise self.error(errno_failure(error), operation, path) from None
        except ValueError:  # a NUL or a lone surrogate in the name
            raise self.error(Failure(code="EINVAL", kind=Unsupported), operation, path) from None

    def _file(self, path: str, operation: Operation) -> bytes:
        """The file of a key. Refuses segments that the system would resolve to another file."""
        segments = path.split("/")
        if not path or any(segment in ("", ".", "..") for segment in segments):
            raise self.error(Failure(code="EINVAL", kind=Unsupported), operation, path)
        return os.path.join(self._root, *(segment.encode() for segment in segments))

    def link_out(self, folder: str) -> StorageError | None:
        """The error for a folder that a symbolic link leads outside the root; None where none does."""
        segments = [segment.encode() for segment in folder.split("/") if segment]
        found = link_out(self._root, segments, self._linked_folders)
        if found is None:
            return None
        link, place = found
        return Denied(
            f'{self._url}: "{link}" is a symbolic link to {place}: nothing is written through it',
            url=self._url,
            path=link,
            code="SymbolicLink",
            advice=ADVICE % (OPTION, place),
        )

    def _file_to_write(self, path: str, operation: Operation) -> bytes:
        target = self._file(path, operation)
        refused = self.link_out(path.rpartition("/")[0])
        if refused is not None:
            raise refused
        return target

    def _list_page(self, prefix: str, cursor: Cursor) -> Page:
        if not os.path.isdir(self._root):
            raise self.error(Failure(code="ENOENT", kind=NotFound, bucket=True), "list", "")
        return next_page(cursor, self._page_size, lambda after: self._walk.entries(prefix, after or ""))

    def _read(self, path: str, start: int, end: int | None, version: str | None) -> Blob:
        descriptor = self._open(path)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise self.error(Failure(code="ENOENT", kind=NotFound), "read", path)
            token = token_of(status)
            if version is not None and version != token:
                raise self.error(Failure(kind=Changed), "read", path)
            stop = status.st_size if end is None else min(end, status.st_size)
            parts: list[bytes] = []
            at = start
            while at < stop:
                part = os.pread(descriptor, stop - at, at)
                if not part:
                    break
                parts.append(part)
                at += len(part)
            # A rename does not change this open file; a program that writes in place does.
            if at < stop or token_of(os.fstat(descriptor)) != token:
                raise self.error(Failure(kind=Changed if version is not None else Corrupt), "read", path)
            return Blob(b"".join(parts), token, status.st_size)
        finally:
            os.close(descriptor)

    def _open(self, path: str) -> int:
        try:
            # O_NONBLOCK: does not wait for the other end of a named pipe.
            return os.open(self._file(path, "read"), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except NotADirectoryError:
            raise self.error(Failure(code="ENOENT", kind=NotFound), "read", path) from None
        except FileNotFoundError:
            missing = not os.path.isdir(self._root)
            failure = Failure(code="ENOENT", kind=NotFound, bucket=missing)
            raise self.error(failure, "read", path) from None

    def _put(self, path: str, data: bytes, only_if: Precondition) -> PutResult:
        target = self._file_to_write(path, "put")
        folder = os.path.dirname(target)
        self._remove_left_behind()
        temporary = os.path.join(folder, temporary_name().encode())
        try:
            token = token_of(write_synced(self._create(temporary, folder), data))
            with synced_names(folder) as names:
                token = self._place(temporary, target, path, only_if, names) or token
        except FileNotFoundError:
            # The folder or the temporary file was removed meanwhile: the next attempt makes it again.
            raise self.error(Failure(code="ENOENT", kind=Unavailable), "put", path) from None
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        return PutResult(token, md5_hex(data))

    def _create(self, temporary: bytes, folder: bytes) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(temporary, flags, 0o666)
        except FileNotFoundError:
            if not os.path.isdir(self._root):
                raise self.error(Failure(code="ENOENT", kind=NotFound, bucket=True), "put", "") from None
            make_folders(self._root, folder)
            return os.open(temporary, flags, 0o666)

    def _place(
        self, temporary: bytes, target: bytes, path: str, only_if: Precondition, folder: int
    ) -> str | None:
        """Renames the temporary file to its target, if what is in place satisfies `only_if`.

        Returns the new token of the file where it had to change.
        """
        while only_if is not ABSENT:
            with in_place(target, folder) as found:
                self._expect(found, path, only_if, "put")
                if found is not None:
                    token = _newer_than(found, temporary)
                    os.replace(temporary, target)
                    return token
            with contextlib.suppress(FileExistsError):  # created meanwhile: then it is replaced
                _create_name(temporary, target, folder)
                return None
        try:
            _create_name(temporary, target, folder)
        except FileExistsError:
            if os.path.isdir(target):
                raise IsADirectoryError(errno.EISDIR, "a folder") from None
            raise
        return None

    def _expect(
        self, found: os.stat_result | None, path: str, only_if: Precondition, operation: Operation
    ) -> None:
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "a folder")
        if isinstance(only_if, str):
            self.require(None if found is None else token_of(found), only_if, operation, path)

    def _delete(self, path: str, only_if: Precondition) -> None:
        target = self._file_to_write(path, "delete")
        try:
            with synced_names(os.path.dirname(target)) as names, in_place(target, names) as found:
                if found is not None:
                    self._expect(found, path, only_if, "delete")
                    os.unlink(target)
        except (FileNotFoundError, NotADirectoryError):
            return  # deleting a missing file succeeds

    def _remove_left_behind(self) -> None:
        removed = 0
        while self._walk.left_behind:
            try:
                name = self._walk.left_behind.pop()
            except KeyError:  # another thread took it
                break
            with contextlib.suppress(FileNotFoundError):
                if is_stale(name, os.lstat(name).st_mtime, self._clock()):
                    os.unlink(name)
                    removed += 1
        if removed:
            log.info("%s: removed %d temporary files that an earlier run left behind", self._url, removed)


def _create_name(temporary: bytes, target: bytes, folder: int) -> None:
    """Renames a file to a name that is not in use. Raises FileExistsError where it is.

    A hard link needs no lock. FAT, some network mounts and some kernels have none: there the folder is
    locked.
    """
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with locked(folder):
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "exists") from None
            os.replace(temporary, target)


def _newer_than(old: os.stat_result, temporary: bytes) -> str | None:
    """Makes `temporary` newer than the file that it replaces, so that no token is ever used twice.

    Clocks of file systems advance in steps of milliseconds, and inode numbers are reused at once: the
    second replacement could have the token of the file before the first.
    """
    new = os.stat(temporary)
    if new.st_mtime_ns > old.st_mtime_ns:
        return None
    os.utime(temporary, ns=(new.st_atime_ns, old.st_mtime_ns + 1))
    return token_of(os.stat(temporary))


def _time_of_day() -> float:
    return time.time()  # noqa: TID251 - the default of an injected clock
