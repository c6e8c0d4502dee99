"""Who gives access tokens: OAuth 2 token endpoints, the metadata services of Google and of Azure.

All in one server, by path: `…/token` (Google's OAuth, Microsoft's `/<tenant>/oauth2/v2.0/token`),
`/computeMetadata/…` (GCE_METADATA_HOST), `/msi/token` (IDENTITY_ENDPOINT of Azure App Service) and
`/metadata/identity/…` (Azure virtual machines). Faults find them by their path as they find the rest.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

from servers.messages import Reply, Request
from servers.s3_rules import Behaviour

_METADATA: Final = "/computeMetadata/v1/"
_SECONDS: Final = 3600
_AZURE: Final = ("/msi/token", "/oauth2/token", "/oauth2/v2.0/token")

#: What the tokens begin with: nobody may ever show one.
PREFIX: Final = "c4n4ry7b1rd0-access-"


class TokenServers:
    """Gives tokens, and knows which it gave. `behaviour` says which of them are expired."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._given = 0

    def gave(self, token: str) -> bool:
        number = token.removeprefix(PREFIX)
        return token.startswith(PREFIX) and number.isdecimal() and int(number) <= self._given

    def answer(self, request: Request) -> Reply | None:
        """None: it is no request of a token."""
        path = request.target.partition("?")[0]
        if path == "/token":
            return _json(self._token())
        if path.endswith(_AZURE):
            token = self._token()
            ends = int(time.time()) + _SECONDS  # noqa: TID251 (a server has the real time)
            return _json({**token, "expires_on": str(ends), "resource": "https://storage.azure.com"})
        if path == "/" and "metadata-flavor" in request.headers:
            return _google(b"ok")
        if path.startswith(_METADATA):
            return self._metadata(path.removeprefix(_METADATA))
        return None

    def _metadata(self, name: str) -> Reply:
        if name.endswith("/token"):
            return _google(json.dumps(self._token()).encode(), "application/json")
        if name.startswith("instance/service-accounts/"):
            account = {"email": "tests@example.invalid", "scopes": ["cloud-platform"], "aliases": ["default"]}
            return _google(json.dumps(account).encode(), "application/json")
        if name == "project/project-id":
            return _google(b"tests")
        if name.startswith("universe/"):
            return _google(b"googleapis.com")
        return Reply(404, {"Metadata-Flavor": "Google"})

    def _token(self) -> dict[str, Any]:
        self._given += 1
        return {"access_token": f"{PREFIX}{self._given}", "expires_in": _SECONDS, "token_type": "Bearer"}


def _google(body: bytes, kind: str = "application/text") -> Reply:
    return Reply(200, {"Metadata-Flavor": "Google", "Content-Type": kind}, body, "Token")


def _json(content: dict[str, Any]) -> Reply:
    return Reply(200, {"Content-Type": "application/json"}, json.dumps(content).encode(), "Token")
