"""How Google Cloud Storage is reached and asked with the options of gcsfs; or what stands in the way.

Nothing here makes a request to the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from metaferry.storage.gcs.client import file_system
from metaferry.storage.gcs.requests import GcsRequests
from metaferry.storage.http.client import CurlClient
from metaferry.storage.http.config import Opened, StoreConfig
from metaferry.storage.http.network import Network, UnsupportedOption, proxy_of_environment, proxy_url

#: Settings of aiohttp's session that come out the same.
_SESSION: Final = frozenset({"trust_env", "proxy"})


class GcsConfig(StoreConfig):
    """A `StoreConfig` for `bucket`. Options are gcsfs's.

    Raises `UnsupportedOption` for settings of aiohttp's other than a proxy.
    """

    def __init__(self, bucket: str, prefix: str, options: Mapping[str, Any], **more: Any) -> None:
        super().__init__(prefix, options, **more)
        self._bucket = bucket
        for name in options.get("session_kwargs") or {}:
            if name not in _SESSION:
                raise UnsupportedOption(f"session_kwargs.{name}")

    def open(self) -> Opened:
        """Raises `UnsupportedOption` where gcsfs finds no credentials, or a client certificate."""
        try:
            fs = file_system(self._options)
        except Exception:  # noqa: BLE001 - a malformed key file raises anything; the adapter will say so
            raise UnsupportedOption("its options") from None
        if fs.credentials.credentials is None and self._options.get("token") != "anon":
            raise UnsupportedOption("credentials, of which there are none")
        if fs._use_client_cert:
            raise UnsupportedOption("a client certificate")
        network = Network(
            fs._location, self._proxy(fs._location), connect=30.0, concurrency=self._concurrency
        )
        return Opened(GcsRequests(fs, self._bucket), CurlClient(network))

    def _proxy(self, endpoint: str) -> str | None:
        session = self._options.get("session_kwargs") or {}
        given = session.get("proxy")
        if given is not None:
            return proxy_url(str(given))
        return proxy_of_environment(endpoint) if session.get("trust_env") else None
