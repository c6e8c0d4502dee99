"""A datasource on each real server, behind a proxy that counts what is asked of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from e2e.stores import KINDS, Store
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource
from servers.proxy import Proxy, proxy


@pytest.fixture(scope="module")
def proxy_of() -> Iterator[Callable[[str], Proxy]]:
    """The proxy before an endpoint; one for each."""
    made: dict[str, Proxy] = {}
    with contextlib.ExitStack() as stack:

        def find(endpoint: str) -> Proxy:
            if endpoint not in made:
                made[endpoint] = stack.enter_context(proxy(endpoint))
            return made[endpoint]

        yield find


@pytest.fixture(params=KINDS)
def store(
    request: pytest.FixtureRequest,
    fresh_datasource: FreshDatasource,
    proxy_of: Callable[[str], Proxy],
    portal: Portal,
) -> Iterator[Store]:
    kind: str = request.param
    url, options = fresh_datasource(kind)
    server = request.getfixturevalue(f"{kind}_server")
    found = Store(kind, url, options, proxy_of(server.endpoint), portal, server)
    yield found
    found.close()
