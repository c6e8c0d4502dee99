"""The listing of a local folder: entries in byte order of the whole key, one folder in memory at a time.

Symbolic links are followed, except into one of their own parents. Names are bytes, read as UTF-8 whatever
the locale (`disk_names.py`); a name that is no UTF-8 is left out, with a warning.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator

from metaferry.storage.local.atomic import TEMPORARY
from metaferry.storage.local.disk_names import from_disk
from metaferry.storage.protocol import Entry

log = logging.getLogger(__name__)

#: A folder of a walk: its key, the names to come, and the folders it is in (to stop at loops).
_Level = tuple[str, Iterator[str], tuple[tuple[int, int] | None, ...]]


class Walk:
    """Listings of the folder `root`. `url` is what messages call it.

    `left_behind` collects the temporary files that listings passed; the adapter removes stale ones.
    """

    def __init__(self, root: bytes, url: str) -> None:
        self._root = root
        self._url = url
        self.left_behind: set[bytes] = set()

    def entries(self, prefix: str, after: str) -> Iterator[Entry]:
        """The entries below `prefix` whose keys are greater than `after`. Raises OSError.

        Byte order of the whole key is code point order of its text.
        """
        folder, _, start = prefix.rpartition("/")
        if any(segment in ("", ".", "..") for segment in folder.split("/") if folder):
            return
        top = os.path.join(self._root, folder.encode())
        if not os.path.isdir(top):
            return
        base = folder + "/" if folder else ""
        stack: list[_Level] = [(base, self._names(top, start), (_identity(top),))]
        while stack:
            base, names, parents = stack[-1]
            name = next(names, None)
            if name is None:
                stack.pop()
                continue
            key = base + name
            if name.endswith("/"):
                # Everything below is smaller than `after`, unless `after` itself is below.
                if key <= after and not after.startswith(key):
                    continue
                below = os.path.join(self._root, key[:-1].encode())
                identity = _identity(below)
                if identity is not None and identity not in parents:
                    stack.append((key, self._names(below, ""), (*parents, identity)))
            elif key > after:
                entry = self._entry(key)
                if entry is not None:
                    yield entry

    def _names(self, folder: bytes, start: str) -> Iterator[str]:
        """The names of one folder that begin with `start`; a folder's name ends with a slash."""
        names: list[str] = []
        left_out = 0
        try:
            with os.scandir(folder) as found:
                for item in found:
                    try:
                        name = item.name.decode()
                    except UnicodeDecodeError:
                        left_out += 1
                        continue
                    if TEMPORARY.match(name):
                        self.left_behind.add(item.path)
                        continue
                    if _is_folder(item):
                        name += "/"
                    if name.startswith(start):
                        names.append(name)
        except FileNotFoundError:  # deleted since its parent was read
            return iter(())
        if left_out:
            at = from_disk(os.path.relpath(folder, self._root))
            log.warning("%s: in %r, left out %d names that are not UTF-8", self._url, at, left_out)
        names.sort()
        return iter(names)

    def _entry(self, key: str) -> Entry | None:
        try:
            status = os.stat(os.path.join(self._root, key.encode()))
        except FileNotFoundError:  # deleted meanwhile, or a dangling link
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link to itself
                return None
            raise
        if not stat.S_ISREG(status.st_mode):
            return None
        return Entry(key, status.st_size, token_of(status), None, status.st_mtime_ns / 1e9)


def token_of(status: os.stat_result) -> str:
    """The version of a file: size, time of change and inode."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def _identity(folder: bytes) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _is_folder(item: os.DirEntry[bytes]) -> bool:
    try:
        return item.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself is neither
            return False
        raise
