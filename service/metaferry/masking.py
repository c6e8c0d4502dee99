"""Secrets that this process was given, and texts without them: the last line of defence of its log.

Messages of ours never hold a secret to begin with. What a library logs, or says in an exception that
nobody expected, may; wherever such a text leaves the process it goes through `mask`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

#: Shorter ones would mask words of every text.
_SHORTEST: Final = 6
#: In words of ours, which name paths and packages, only what cannot be one of them: a key of an emulator
#: is often `minioadmin`, or our own name.
_STRONG: Final = 12
#: So many are remembered; a program that runs for months renews its tokens.
_MOST: Final = 1_000

#: Options whose text is no secret, by their key.
HARMLESS: Final = frozenset(
    {
        "account_host",
        "account_name",
        "acl",
        "addressing_style",
        "endpoint_url",
        "host",
        "location",
        "profile",
        "project",
        "protocol",
        "region",
        "region_name",
        "signature_version",
        "ServerSideEncryption",
    }
)
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_IN_URL: Final = re.compile(r"//(?P<user>[^/?#@]*)@|[?&][^=&#]*=(?P<value>[^&#]*)")

_known: dict[str, None] = {}


def remember(options: Mapping[str, Any]) -> None:
    """The texts of a mapping of fsspec options: all but those whose key says that they are harmless."""
    for key, text in _texts(options, ""):
        if key in HARMLESS or "://" in text:
            remember_url(text)
        else:
            _remember(text)


def remember_url(url: str) -> None:
    """The password, the token and whatever the query of a URL holds."""
    for found in _IN_URL.finditer(url):
        parts = (found["user"].partition(":")[2] or found["user"],) if found["user"] else (found["value"],)
        for part in filter(None, parts):
            _remember(part)
            _remember(unquote(part))


def mask(text: str, *, shortest: int = _STRONG) -> str:
    """The text with `***` for every secret that is known and has so many characters."""
    for secret in sorted(_known, key=len, reverse=True):
        if len(secret) >= shortest and secret in text:
            text = text.replace(secret, "***")
    return text


def mask_foreign(text: str) -> str:
    """The same for words that are not ours: with short secrets, and no user and query in any URL."""
    from metaferry.storage.urls import redact

    def shown(found: re.Match[str]) -> str:
        return redact(found[0]).partition("?")[0]

    return _URL.sub(shown, mask(text, shortest=_SHORTEST))


def _remember(secret: str) -> None:
    if len(secret) >= _SHORTEST:
        _known.pop(secret, None)
        _known[secret] = None
        if len(_known) > _MOST:
            del _known[next(iter(_known))]


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, str(name))
    elif isinstance(value, str):
        yield key, value
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for item in value:
            yield from _texts(item, key)
