"""The stores the contract suite runs over, and what is known to differ between them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import pytest

from metaferry.storage.factory import Transport, open_adapter
from metaferry.storage.fsspec_adapter import FsspecAdapter
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import (
    ANYTHING,
    Adapter,
    Batched,
    Blob,
    Capabilities,
    Entry,
    Page,
    Precondition,
    PutResult,
)
from metaferry.storage.retry.attempts import Policy
from metaferry.storage.retry.storage import Retrying

T = TypeVar("T")

LOCAL: Final = ("local", "memory", "generic-file", "generic-memory")
SERVERS: Final = ("s3", "fast_s3", "seaweedfs", "gcs", "azure", "fast_azure")
KINDS: Final = (*LOCAL, *SERVERS)

#: How a store is spoken to: through its fsspec library alone; with libcurl beside it, on an event loop; and
#: the same with every put as a blocking call.
Lane = Literal["fsspec", "loop", "threads"]
TRANSPORTS: Final[dict[Lane, Transport]] = {"fsspec": "fsspec", "loop": "auto", "threads": "auto"}
LANES: Final[tuple[tuple[str, Lane], ...]] = (
    *((kind, "fsspec") for kind in KINDS),
    *((kind, "loop") for kind in SERVERS),
    *((kind, "threads") for kind in SERVERS),
)

#: SeaweedFS lists folder by folder: `a/b` before `a.b`.
BYTE_ORDER: Final = frozenset(KINDS) - {"seaweedfs"}

#: Whose listings prove the content of what one put wrote.
PROVES_CONTENT: Final = frozenset({"memory", "s3", "fast_s3", "seaweedfs", "gcs", "azure", "fast_azure"})

#: Stores that check a precondition themselves, against everybody.
CONDITIONAL: Final = frozenset(KINDS) - {"generic-file", "generic-memory"}


@dataclass
class Subject:
    """One store under test. Adapters are opened anew on the same empty datasource and closed at the end."""

    kind: str
    url: str
    options: dict[str, Any]
    portal: Portal
    lane: Lane = "fsspec"

    def __post_init__(self) -> None:
        self._opened: list[Adapter] = []

    def adapter(self, **more: Any) -> Adapter:
        adapter: Adapter
        if self.kind == "generic-file":
            adapter = FsspecAdapter(f"file://{self.url}", self.options, **more)
        elif self.kind == "generic-memory":
            adapter = FsspecAdapter(self.url, self.options, **more)
        else:
            adapter = open_adapter(self.url, self.options, transport=TRANSPORTS[self.lane], **more)
            if self.lane == "threads":
                adapter = ByThreads(adapter)
        self._opened.append(adapter)
        return adapter

    def beside(self, url: str) -> Subject:
        """The same store and lane, another datasource."""
        return Subject(self.kind, url, self.options, self.portal, self.lane)

    def storage(self, **more: Any) -> Retrying:
        return Retrying(self.adapter(**more), Policy(retry_for=30))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.portal.run(work)

    def fails(self, error: type[Exception], work: Coroutine[Any, Any, Any]) -> Any:
        """Runs it, expects exactly that class, and returns the error."""
        with pytest.raises(error) as caught:
            self.run(work)
        assert caught.type is error, f"{caught.type.__name__}: {caught.value}"
        return caught.value

    def close(self) -> None:
        for adapter in self._opened:
            self.run(_closing(adapter.close))


class ByThreads:
    """An adapter whose puts are made by `put_batch`, each in a thread, where they are not left to `put`."""

    def __init__(self, adapter: Adapter) -> None:
        assert isinstance(adapter, Batched)
        self._batched: Batched = adapter
        self._adapter = adapter

    @property
    def url(self) -> str:
        return self._adapter.url

    @property
    def capabilities(self) -> Capabilities:
        return self._adapter.capabilities

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        return await self._adapter.list_page(prefix, start_after=start_after, cursor=cursor)

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        return await self._adapter.read(path, start, end, version=version)

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        put = path, data, only_if, hashlib.md5(data).hexdigest()
        (attempted,) = await asyncio.to_thread(self._batched.put_batch, [put], ended=lambda: False)
        if attempted is None:
            return await self._adapter.put(path, data, only_if=only_if)
        if isinstance(attempted, str):
            return PutResult(attempted, put[3])
        raise attempted

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        await self._adapter.delete(path, only_if=only_if)

    async def close(self) -> None:
        await self._adapter.close()


async def _closing(close: Callable[[], Awaitable[None]]) -> None:
    await close()
    await close()  # safe to call twice


async def pages_of(adapter: Adapter, prefix: str = "", **more: Any) -> list[list[Entry]]:
    """All pages of a listing, the empty ones too."""
    pages, cursor = [], None
    while True:
        page = await adapter.list_page(prefix, cursor=cursor, **more)
        pages.append(page.entries)
        if page.cursor is None:
            return pages
        cursor = page.cursor


async def keys_of(adapter: Adapter, prefix: str = "", **more: Any) -> list[str]:
    return [entry.path for page in await pages_of(adapter, prefix, **more) for entry in page]
