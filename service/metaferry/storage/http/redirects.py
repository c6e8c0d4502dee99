"""Whether a redirect is followed, and where to. Pure functions, and a session of aiohttp that uses them.

Nothing follows redirects unless the option `follow_redirects` says so. Then they are followed a few times,
never from https to http, and never to a place for which the credentials of the request are not meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

from metaferry.storage.errors import REDIRECTS

#: Of how many redirects one request is followed at most.
MOST_REDIRECTS: Final = 5

_PORTS: Final = {"http": 80, "https": 443}


class BoundTo(Enum):
    """Where a request may go with what it carries."""

    #: It has no credentials.
    NOTHING = "nothing"
    #: An access token, a SAS, a key or certificate of a client: never sent to another host.
    HOST = "host"
    #: A signature of method, host and path, which is wrong for any other.
    URL = "url"


def target(method: str, url: str, status: int, location: str | None, bound_to: BoundTo) -> str | None:
    """The URL that a redirect from `url` leads to; None where it must not be followed, or is none.

    The method stays the same, so a 303 of a write is none: RFC 9110, section 15.4.4.
    """
    if status not in REDIRECTS or not location or (status == 303 and method not in ("GET", "HEAD")):
        return None
    if not location.isascii() or not location.isprintable() or " " in location:
        return None
    try:
        old, new = urlsplit(url), urlsplit(urljoin(url, location))
        moved = not _is_same_host(old, new)
    except ValueError:
        return None
    if new.scheme not in _PORTS or not new.hostname or "@" in new.netloc:
        return None
    if old.scheme == "https" and new.scheme != "https":
        return None
    if moved and bound_to is not BoundTo.NOTHING:
        return None
    if bound_to is BoundTo.URL and (old.path, old.query) != (new.path, new.query):
        return None
    return new._replace(fragment="").geturl()


def _is_same_host(old: SplitResult, new: SplitResult) -> bool:
    """Also with https in place of http, each at its usual port. Raises ValueError."""
    ports = [url.port or _PORTS.get(url.scheme) for url in (old, new)]
    upgraded = (old.scheme, new.scheme) == ("http", "https") and ports == [80, 443]
    return old.hostname == new.hostname and (ports[0] == ports[1] or upgraded)


def without_host(headers: list[str]) -> list[str]:
    """Lines of headers for another URL, whose host the client names itself."""
    return [line for line in headers if not line.lower().startswith("host:")]


class RedirectingSession:
    """A session of aiohttp whose requests are redirected by these rules, or not at all."""

    def __init__(self, session: Any, *, follow: bool, bound_to: BoundTo) -> None:
        self._session = session
        self._most = MOST_REDIRECTS if follow else 0
        self._bound_to = bound_to

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def request(
        self, method: str, url: Any, *, headers: Mapping[str, str], data: Any = None, **more: Any
    ) -> Any:
        """As aiohttp's. The last answer, where one redirect too many comes, or one that is not followed."""
        from yarl import URL

        more["allow_redirects"] = False
        for _ in range(self._most):
            answer = await self._session.request(method, url, headers=headers, data=data, **more)
            location = answer.headers.get("Location")
            found = target(method, str(url), answer.status, location, self._bound_to)
            if found is None or not isinstance(data, (bytes, str, type(None))):  # it may be at its end
                return answer
            answer.release()
            url, more = URL(found, encoded=True), {k: v for k, v in more.items() if k != "params"}
            headers = {name: value for name, value in headers.items() if name.lower() != "host"}
        return await self._session.request(method, url, headers=headers, data=data, **more)
