"""A datasource in the memory of this process, in the store that fsspec's `memory://` shares.

For tests, demonstrations and embedding: every fsspec user of this process sees the same files under the
same URL. A put replaces a file in one step, so a partial file is never visible; the MD5 of the content is
the token. Every call lets the event loop run once, as a request would. Nothing outlives the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, Final

from metaferry.errors import Changed, NotFound, Unsupported
from metaferry.storage.base import BaseAdapter
from metaferry.storage.errors import Failure, Operation
from metaferry.storage.keys import md5_hex
from metaferry.storage.listing.paging import Cursor, next_page
from metaferry.storage.protocol import (
    ABSENT,
    ANYTHING,
    Blob,
    Capabilities,
    Entry,
    Page,
    Precondition,
    PutResult,
)

#: One lock for the whole process, as the store is one, for a check and its write.
_LOCK: Final = threading.Lock()


class MemoryAdapter(BaseAdapter):
    """The keys below `root` (such as `fleet/2026`) of fsspec's memory file system."""

    store = "memory"

    def __init__(self, root: str, *, url: str | None = None, page_size: int | None = None) -> None:
        from fsspec.implementations.memory import MemoryFileSystem

        self._fs = MemoryFileSystem()
        root = root.strip("/")
        self._base = f"/{root}/" if root else "/"
        super().__init__(
            url=url if url is not None else f"memory:/{self._base}",
            capabilities=Capabilities(listing_md5=True, conditional=True, remote=False),
        )
        self._page_size = page_size if page_size is not None else 1000

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        await asyncio.sleep(0)
        here = cursor if cursor is not None else Cursor(start_after)
        return next_page(here, self._page_size, lambda after: self._walk(prefix, after or ""))

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        await asyncio.sleep(0)
        file = self._fs.store.get(self._base + path)
        if file is None:
            raise self.error(Failure(kind=NotFound), "read", path)
        content = file.getvalue()
        token = md5_hex(content)
        if version is not None and version != token:
            raise self.error(Failure(kind=Changed), "read", path)
        return Blob(content[start:end], token, len(content))

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        await asyncio.sleep(0)
        return self.put_blocking(path, data, only_if=only_if)

    def put_blocking(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        from fsspec.implementations.memory import MemoryFile

        key = self._base + path
        with _LOCK:
            self._require(path, only_if, "put")
            self._fs.store[key] = MemoryFile(self._fs, key, bytes(data))
        token = md5_hex(data)
        return PutResult(token, token)

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        if only_if is ABSENT:
            raise self.error(Failure(kind=Unsupported), "delete", path)
        with _LOCK:
            if self._base + path in self._fs.store:
                self._require(path, only_if, "delete")
            self._fs.store.pop(self._base + path, None)

    async def close(self) -> None:
        """Nothing to close; what was written stays for the process."""

    def _walk(self, prefix: str, after: str) -> Iterator[Entry]:
        start = self._base + prefix
        skip = len(self._base)
        for key in sorted(key for key in tuple(self._fs.store) if key.startswith(start)):
            path = key[skip:]
            if path <= after or path.endswith("/") or not path:
                continue
            file = self._fs.store.get(key)
            if file is None:  # deleted since
                continue
            content = file.getvalue()
            token = md5_hex(content)
            yield Entry(path, len(content), token, token, file.modified.timestamp())

    def _require(self, path: str, only_if: Precondition, operation: Operation) -> None:
        if only_if is not ANYTHING:
            file = self._fs.store.get(self._base + path)
            self.require(None if file is None else md5_hex(file.getvalue()), only_if, operation, path)
