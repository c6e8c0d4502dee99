"""How Azure Blob Storage is reached and asked, as the client that adlfs makes would; or what stands in the
way.

Address, API version and who signs are taken from that client; an access token comes from the credential that
adlfs holds for callers without an event loop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from metaferry.errors import Denied, Unavailable
from metaferry.storage.answers import Refused
from metaferry.storage.azure.client import azure_failure, bound_to, file_system
from metaferry.storage.azure.requests import (
    CHALLENGED,
    AzureEndpoint,
    AzureRequests,
    Credential,
    SharedKey,
)
from metaferry.storage.azure.token_failure import TOKEN_SERVER
from metaferry.storage.errors import Failure
from metaferry.storage.http.client import CurlClient
from metaferry.storage.http.config import Opened, StoreConfig
from metaferry.storage.http.exchange import header_lines
from metaferry.storage.http.network import Network, UnsupportedOption, proxy_of_environment

#: What an access token has to be good for.
_SCOPE: Final = "https://storage.azure.com/.default"
#: A token is renewed so many seconds before it ends, as the SDK does.
_EARLY: Final = 300
_PROBE: Final = "metaferry-endpoint"


class AzureConfig(StoreConfig):
    """A `StoreConfig` for `container`. Options are adlfs's.

    Raises `UnsupportedOption` for a credential that there is only for event loops.
    """

    def __init__(self, container: str, prefix: str, options: Mapping[str, Any], **more: Any) -> None:
        super().__init__(prefix, options, **more)
        self._container = container
        if not isinstance(options.get("credential"), (str, type(None))):
            raise UnsupportedOption("credential")

    def open(self) -> Opened:
        """Raises `UnsupportedOption` for options that adlfs refuses."""
        try:
            fs = file_system(self._options)
        except (ValueError, TypeError):  # the adapter will say what is wrong with them
            raise UnsupportedOption("its options") from None
        endpoint, credential = _endpoint(fs, self._container), _credential(fs)
        if isinstance(credential, SharedKey) and endpoint.query:
            raise UnsupportedOption("a key and a signature at once")
        if credential.may_be_challenged and not endpoint.url.startswith("https:"):
            raise UnsupportedOption("an access token without TLS")  # the SDK will refuse
        network = Network(endpoint.url, proxy_of_environment(endpoint.url), concurrency=self._concurrency)
        return Opened(AzureRequests(endpoint, credential, bound_to=bound_to(fs)), CurlClient(network))

    def fallback_reason(self, failure: Failure) -> str | None:
        if failure.code == CHALLENGED:
            return "a challenge: the access token may have to come from another directory"
        return super().fallback_reason(failure)


class Bearer(Credential):
    """An access token from a credential of azure-identity. `now` is the time of the day."""

    may_be_challenged = True

    def __init__(self, credential: Any, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._credential = credential
        self._now = now
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._until = datetime.min.replace(tzinfo=UTC)

    def __repr__(self) -> str:
        return "Bearer(…)"

    def is_due(self) -> bool:
        return self._now() >= self._until

    def authorization(self, string_to_sign: str, path: str) -> list[str]:
        if self._now() >= self._until:
            with self._lock:
                if self._now() >= self._until:
                    self._renew()
        return self._lines

    def _renew(self) -> None:
        from azure.core.exceptions import AzureError

        try:
            token = self._credential.get_token(_SCOPE)
        except (AzureError, OSError) as error:
            raise Refused(azure_failure(error)) from None
        except (AttributeError, KeyError, TypeError, ValueError):  # an answer that is none
            raise Refused(Failure(code=TOKEN_SERVER, kind=Unavailable)) from None
        try:
            self._lines = header_lines({"Authorization": f"Bearer {token.token}"})
        except ValueError:
            raise Refused(Failure(code="InvalidOptions", kind=Denied)) from None
        self._until = datetime.fromtimestamp(token.expires_on - _EARLY, UTC)


def _endpoint(fs: Any, container: str) -> AzureEndpoint:
    client = fs.service_client.get_container_client(container)
    url, _, query = client.get_blob_client(_PROBE).url.partition("?")
    return AzureEndpoint(url.removesuffix(f"/{_PROBE}"), query, client.api_version)


def _credential(fs: Any) -> Credential:
    """Who the SDK's client would be."""
    credential = fs.service_client.credential
    if credential is None:
        return Credential()
    if hasattr(credential, "account_key"):
        try:
            return SharedKey(credential.account_name, credential.account_key)
        except ValueError:
            raise UnsupportedOption("the account key, which is none") from None
    if fs.sync_credential is None:
        raise UnsupportedOption("the kind of credential")
    return Bearer(fs.sync_credential)
