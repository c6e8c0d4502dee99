"""How a store is reached: address, proxy, certificates and times, as options of libcurl.

What libcurl would look up by itself (proxies in the environment, the bundle it was built with, `.netrc`) is
given explicitly, so that one reaches a store exactly as its fsspec library does. Nothing here makes a
request.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

#: A put from a thread ends after so many seconds, whatever happens.
TIMEOUT: Final = 60.0
#: The bound for anything else; the retry layer has its own, shorter ones and cancels.
LONGEST: Final = 900.0


class UnsupportedOption(Exception):
    """This client cannot be made to do exactly what the fsspec library would do; says on account of what."""


@dataclass(frozen=True, slots=True)
class Network:
    """How a store is reached. `proxy` is the one for `endpoint`, None for none; times in seconds.

    `trusted` is a file of certificates in PEM, or a folder of them as OpenSSL has it, that are trusted; None:
    those of the system. `verify` False takes any certificate. `certificate` and `private_key` are files of a
    client certificate. `connect` bounds getting a connection, `read` the time in which nothing arrives.
    Raises `UnsupportedOption` for certificates that are not there.
    """

    endpoint: str
    proxy: str | None = field(default=None, repr=False)
    verify: bool = True
    trusted: str | None = None
    certificate: str | None = None
    private_key: str | None = None
    connect: float = 10.0
    read: float = 60.0
    concurrency: int = 64

    def __post_init__(self) -> None:
        if self.trusted is not None and not os.path.exists(self.trusted):
            raise UnsupportedOption("verify")
        for path in (self.certificate, self.private_key):
            if path is not None and not os.path.isfile(path):
                raise UnsupportedOption("client_cert")


def curl_options(network: Network) -> list[tuple[int, Any]]:
    """Options of an easy handle, in order."""
    import pycurl

    options: list[tuple[int, Any]] = [
        (pycurl.NOSIGNAL, 1),
        (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
        (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
        (pycurl.FOLLOWLOCATION, 0),
        (pycurl.PATH_AS_IS, 1),
        (pycurl.NETRC, pycurl.NETRC_IGNORED),
        (pycurl.USERAGENT, "metaferry"),
        (pycurl.TCP_KEEPALIVE, 1),
        (pycurl.CONNECTTIMEOUT_MS, max(1, round(network.connect * 1000))),
        (pycurl.LOW_SPEED_LIMIT, 1),
        (pycurl.LOW_SPEED_TIME, max(1, math.ceil(network.read))),
        (pycurl.PROXY, network.proxy or ""),
        (pycurl.NOPROXY, ""),
        # Also for an endpoint of http: it may redirect to https.
        (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
        (pycurl.SSL_VERIFYPEER, int(network.verify)),
        (pycurl.SSL_VERIFYHOST, 2 if network.verify else 0),
        *_trust(network.trusted),
    ]
    if network.proxy is not None and network.proxy.startswith("https:"):
        of_proxy = {pycurl.CAINFO: pycurl.PROXY_CAINFO, pycurl.CAPATH: pycurl.PROXY_CAPATH}
        options += [
            (pycurl.PROXY_SSL_VERIFYPEER, int(network.verify)),
            (pycurl.PROXY_SSL_VERIFYHOST, 2 if network.verify else 0),
            *((of_proxy[option], value) for option, value in _trust(network.trusted)),
        ]
    if network.certificate is not None:
        options.append((pycurl.SSLCERT, network.certificate))
        options.append((pycurl.SSLKEY, network.private_key or network.certificate))
    return options


def proxy_for(endpoint: str, proxies: Mapping[str, str] | None) -> str | None:
    """The proxy for an endpoint as botocore chooses it: of its options, else of the environment."""
    from botocore.utils import get_environ_proxies

    chosen = get_environ_proxies(endpoint) if proxies is None else proxies
    return proxy_url(chosen.get(urlsplit(endpoint).scheme))


def proxy_of_environment(endpoint: str) -> str | None:
    """The proxy for an endpoint as Python's own library, and aiohttp with `trust_env`, choose it."""
    from urllib.request import getproxies, proxy_bypass

    url = urlsplit(endpoint)
    return None if proxy_bypass(url.hostname or "") else proxy_url(getproxies().get(url.scheme))


def proxy_url(proxy: str | None) -> str | None:
    """A proxy with its scheme. Raises `UnsupportedOption` for one that does not speak HTTP."""
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise UnsupportedOption("proxies")
    return str(proxy)


def _trust(trusted: str | None) -> list[tuple[int, str | None]]:
    """Where trusted certificates are. The system's are those of Python's OpenSSL, which the environment
    (`SSL_CERT_FILE`, `SSL_CERT_DIR`) may name; certifi's where the system has none."""
    import ssl

    import pycurl

    file, folder = trusted, None
    if trusted is None:
        paths = ssl.get_default_verify_paths()
        file, folder = paths.cafile, paths.capath
    elif os.path.isdir(trusted):
        file, folder = None, trusted
    if file is None and folder is None:
        import certifi

        file = certifi.where()
    # Both: what is not set is what libcurl was built with.
    return [(pycurl.CAINFO, file), (pycurl.CAPATH, folder)]
