"""One datasource behind a proxy, spoken to through libcurl and through its fsspec library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from metaferry.storage.factory import Transport, open_adapter
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ANYTHING, Adapter, Precondition, PutResult
from servers.azurite import options_for
from servers.datasource import FreshDatasource
from servers.proxy import Proxy, Tap, proxy


@dataclass
class Pair:
    """`tap` sees what goes through `wire`, the proxy. Adapters are closed at the end."""

    kind: str
    url: str
    options: dict[str, Any]
    wire: Proxy
    tap: Tap
    portal: Portal
    opened: list[Adapter] = field(default_factory=list)

    def adapter(self, transport: Transport = "auto", **more: Any) -> Any:
        adapter = open_adapter(self.url, {**self.options, **more}, transport=transport)
        self.opened.append(adapter)
        return adapter

    def run(self, work: Any) -> Any:
        return self.portal.run(work)

    def put(self, adapter: Any, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        """A put from this thread, and from the loop where it is left to that one, as a run makes it."""
        md5 = hashlib.md5(data).hexdigest()
        (attempted,) = adapter.put_batch([(path, data, only_if, md5)], ended=lambda: False)
        if attempted is None:
            found: PutResult = self.run(adapter.put(path, data, only_if=only_if))
            return found
        if isinstance(attempted, str):
            return PutResult(attempted, md5)
        raise attempted

    def lose_bucket(self) -> None:
        """What is opened from here on is of a bucket that is not there."""
        bucket = self.url.partition("://")[2].partition("/")[0]
        self.url = self.url.replace(bucket, f"{bucket}-none")

    @property
    def method(self) -> str:
        """Of a put."""
        return "POST" if self.kind == "gcs" else "PUT"


@contextmanager
def paired(
    kind: str, request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, portal: Portal
) -> Iterator[Pair]:
    url, options = fresh_datasource(kind)
    with proxy(request.getfixturevalue(f"{kind}_server").endpoint) as control:
        if kind == "azure":
            options = options_for(control.endpoint)
        else:
            options = {**options, "endpoint_url": control.endpoint}
        pair = Pair(kind, url, options, control, Tap(control), portal)
        yield pair
        for adapter in pair.opened:
            portal.run(adapter.close())
