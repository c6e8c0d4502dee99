"""obstore's HTTP client set up as the fsspec library of the same store would set up its own.

obstore also looks at environment variables by itself, with rules of its own; everything that it
would look up is therefore given explicitly. Nothing here makes a request.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

#: A put from a thread ends after so many seconds, whatever happens.
TIMEOUT: Final = 60.0
#: The bound for anything else; the retry layer has its own, shorter ones and cancels.
LONGEST: Final = 900.0

#: Variables of the environment from which obstore would take a proxy.
_PROXY_VARIABLES: Final = ("http_proxy", "https_proxy", "all_proxy")


class UnsupportedOption(Exception):
    """obstore cannot be made to do exactly what the fsspec library would do; says on account of what."""


@dataclass(frozen=True, slots=True)
class Network:
    """How a store is reached. `proxy` is the one for `endpoint`, None for none; times in seconds.

    `trusted` is a file of certificates in PEM that are trusted beside the system's own, None for
    those alone. `verify` False takes any certificate.
    """

    endpoint: str
    proxy: str | None
    verify: bool = True
    trusted: str | None = None
    connect: float = 10.0
    read: float = 60.0
    concurrency: int = 64


def client_options(network: Network, *, timeout: float) -> dict[str, Any]:
    """obstore's `client_options`; `timeout` (seconds) bounds one request, its answer included."""
    host = urlsplit(network.endpoint)
    options: dict[str, Any] = {
        "allow_http": host.scheme == "http",
        "allow_invalid_certificates": not network.verify,
        "http1_only": True,
        "connect_timeout": _seconds(network.connect),
        "read_timeout": _seconds(network.read),
        "timeout": _seconds(timeout),
        # A connection comes back a moment after its answer, when the next request may have opened
        # another: room for both, or one is closed each time. None so old that the server closed it.
        "pool_max_idle_per_host": str(2 * network.concurrency),
        "pool_idle_timeout": _seconds(15.0),
    }
    if network.trusted is not None and host.scheme == "https":
        options["root_certificate"] = _certificates(network.trusted)
    if network.proxy is not None:
        options["proxy_url"] = network.proxy
    elif any(name.lower() in _PROXY_VARIABLES and value for name, value in os.environ.items()):
        # There is a proxy, but not for this host: only a proxy of our own keeps obstore from it.
        options |= {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": host.hostname or ""}
    return options


def proxy_for(endpoint: str, proxies: Mapping[str, str] | None) -> str | None:
    """The proxy for an endpoint as botocore chooses it: of its options, else of the environment."""
    from botocore.utils import get_environ_proxies

    chosen = get_environ_proxies(endpoint) if proxies is None else proxies
    proxy = chosen.get(urlsplit(endpoint).scheme)
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise UnsupportedOption("proxies")
    return str(proxy)


def _seconds(value: float) -> str:
    return f"{round(value * 1000)}ms"


def _certificates(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # a folder of certificates, or nothing at all
        raise UnsupportedOption("verify") from None
