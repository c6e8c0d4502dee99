"""A seekable file over one object, for synchronous readers: decoders, pyarrow.

Every byte still crosses the storage contract (:meth:`Storage.read`, retried and pinned). The first
answer pins the version, so a file never mixes two versions of an object: if it is replaced while
it is being read, `Changed` is raised. Nothing is ever written, and nothing is kept on disk.
"""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

from metaferry.storage.protocol import Blob, Storage

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from metaferry.storage.io.portal import Portal

#: Blocks that are kept. A demuxer alternates between an index and the samples, pyarrow between a footer
#: and some columns: a single block would be fetched again and again.
_KEPT_BLOCKS = 4


class RangeFile(io.RawIOBase):
    """`path` below the datasource of `storage`, as a read-only binary file.

    `size` (bytes) saves a request where it is known from a listing. `version` is
    a token to pin to; without it the first answer pins. `block` is the least a request asks for, in
    bytes: small reads are served from what was fetched before, reads larger than it are one request
    each. `requests`, `bytes` (received) and `token` (None before the first answer, unless `version`
    was given) are for accounting. Safe to use from several threads; each read is one critical
    section. Raises the errors of :meth:`Storage.read`.
    """

    def __init__(
        self,
        storage: Storage,
        portal: Portal,
        path: str,
        *,
        size: int | None = None,
        version: str | None = None,
        block: int = 1 << 20,
    ) -> None:
        super().__init__()
        self.path = path
        self.token: str | None = version
        self.requests = 0
        self.bytes = 0
        self._storage = storage
        self._portal = portal
        self._size = size
        self._block = block
        self._at = 0
        self._blocks: list[tuple[int, bytes]] = []  # the most recently used is last
        self._lock = threading.RLock()
        if block < 1:  # after the fields are set: closing needs them
            raise ValueError("block must be at least 1 byte")

    def __repr__(self) -> str:
        return f"RangeFile({self.path!r}, requests={self.requests}, bytes={self.bytes})"

    @property
    def name(self) -> str:
        return self.path

    @property
    def size(self) -> int:
        """The size of the object in bytes; fetches the first block where it is not yet known."""
        with self._lock:
            if self._size is None:
                self._fetch(0, self._block)
            assert self._size is not None
            return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._check_open()
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check_open()
        with self._lock:
            if whence == io.SEEK_SET:
                at = offset
            elif whence == io.SEEK_CUR:
                at = self._at + offset
            elif whence == io.SEEK_END:
                at = self.size + offset
            else:
                raise ValueError(f"whence must be 0, 1 or 2, not {whence}")
            if at < 0:
                raise ValueError(f"seek to {at}, before the start of the file")
            self._at = at
            return at

    def read(self, size: int | None = -1, /) -> bytes:
        """`size` bytes, fewer only at the end of the object: never a short read in the middle."""
        self._check_open()
        with self._lock:
            whole = self.size
            count = whole - self._at if size is None or size < 0 else size
            data = self._range(self._at, min(self._at + count, whole))
            self._at += len(data)
            return data

    def readall(self) -> bytes:
        return self.read(-1)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Frees the blocks; the storage stays open."""
        if not self.closed:
            self._blocks.clear()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _range(self, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        for index, (first, held) in enumerate(self._blocks):
            if first <= start and end <= first + len(held):
                self._blocks.append(self._blocks.pop(index))
                return held[start - first : end - first]
        if end - start >= self._block:
            return self._fetch(start, end, keep=False)[: end - start]
        return self._fetch(start, start + self._block)[: end - start]

    def _fetch(self, start: int, end: int, *, keep: bool = True) -> bytes:
        if self._size is not None:
            end = min(end, self._size)
        blob: Blob = self._portal.run(self._storage.read(self.path, start, end, version=self.token))
        self.requests += 1
        self.bytes += len(blob.data)
        self.token = blob.token
        self._size = blob.size
        if keep:
            self._blocks.append((start, blob.data))
            del self._blocks[:-_KEPT_BLOCKS]
        return blob.data
