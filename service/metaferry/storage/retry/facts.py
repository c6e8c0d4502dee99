"""Requests for what a store knows of objects besides their bytes, retried: the `facts` of a `Retrying`."""

from __future__ import annotations

from collections.abc import Mapping

from metaferry.errors import Unsupported
from metaferry.storage.facts.model import Described, Describing, Fact
from metaferry.storage.protocol import Adapter
from metaferry.storage.retry.attempts import Attempts, Work


class RetriedFacts:
    """`ObjectFactReader` over an adapter, `Describing` or not."""

    def __init__(self, adapter: Adapter, attempts: Attempts) -> None:
        self._url = adapter.url
        self._adapter = adapter if isinstance(adapter, Describing) else None
        self._attempts = attempts

    @property
    def listed(self) -> frozenset[Fact]:
        return frozenset() if self._adapter is None else self._adapter.listed_facts

    @property
    def can_describe(self) -> bool:
        return self._adapter is not None and bool(self._adapter.listed_facts)

    @property
    def has_tags(self) -> bool:
        return self._adapter is not None and self._adapter.has_tags

    def list_facts(self, *, tags: bool) -> None:
        if self._adapter is not None:
            self._adapter.list_facts(tags=tags)

    async def describe(self, path: str) -> Described:
        adapter = self._required()
        return await self._attempts.all(Work("get", path, 0, lambda: adapter.describe(path)))

    async def tags(self, path: str) -> Mapping[str, str]:
        adapter = self._required()
        return await self._attempts.all(Work("tags", path, 0, lambda: adapter.tags(path)))

    def _required(self) -> Describing:
        if self._adapter is None:
            raise Unsupported(f"{self._url}: the store knows no facts of objects", url=self._url)
        return self._adapter
