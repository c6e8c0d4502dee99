"""Secrets that this process was given, and texts without them: the last line of defence of its log.

Messages of ours never hold a secret to begin with. What a library logs, or says in an exception that
nobody expected, may; wherever such a text leaves the process it goes through `mask`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote

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
#: Variables of the environment that the clouds' libraries, fsspec and HTTP clients read secrets from.
_VARIABLES: Final = re.compile(
    r"(?:AWS|AZURE|ARM|MSI|IDENTITY|GOOGLE|GCS|GCLOUD|CLOUDSDK|FSSPEC|OTEL|S3|MINIO)_\w*"
    r"(?:SECRET|PASSWORD|PASSWD|TOKEN|KEY|HEADERS?|CREDENTIALS?|CONNECTION_STRING|SAS)\w*",
    re.IGNORECASE,
)
#: Of the clients of databases: https://www.postgresql.org/docs/current/libpq-envars.html
_PASSWORDS: Final = frozenset({"PGPASSWORD", "PGSSLPASSWORD", "MYSQL_PWD"})
_PROXIES: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
#: What tokens and secrets look like in the words of a library, whoever gave them out.
_SHAPES: Final = (
    re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]+){1,4}"),  # a JSON Web Token
    re.compile(r"(?i)(?<=\bbearer )[^\s'\",]+"),
    re.compile(
        r"(?i)(?<![a-z])(?:(?:access|refresh|id|session|security)_?token|client_(?:secret|assertion)|assertion"
        r"|password|passwd|secret_?(?:access_?)?key|account_?key|shared_?access_?signature|sig(?:nature)?)"
        r"[\"']?\s*[:=]\s*[\"']?([^\s\"'&,;}]+)"
    ),
)

_known: dict[str, None] = {}
#: Of them those that stand in the path of a URL, where nothing else tells them from a name.
_in_paths: dict[str, None] = {}


def remember(options: Mapping[str, Any]) -> None:
    """The texts of a mapping of fsspec options: all but those whose key says that they are harmless."""
    for key, text in _texts(options, ""):
        if key in HARMLESS or "://" in text:
            remember_url(text)
        else:
            _remember(text)


def remember_url(url: str) -> None:
    """The passwords, the tokens and whatever the queries of a URL hold."""
    from metaferry.urls import hidden_in

    for part in hidden_in(url):
        _remember(part)
        _remember(unquote(part))


def remember_path(text: str) -> None:
    """What stands in the path of a URL and is a secret, as far as anybody knows."""
    _remember(text)
    if len(text) >= _SHORTEST:
        _in_paths[text] = None


def remember_text(text: str) -> None:
    """A text that is a secret wherever it stands: in a path, quoted for a URL, or in a JSON document."""
    for form in {text, quote(text, safe=""), json.dumps(text)[1:-1], repr(text)[1:-1]}:
        remember_path(form)


def remember_environment(environment: Mapping[str, str]) -> None:
    """The secrets that the credential chains of the stores' libraries read from the environment."""
    for name, value in environment.items():
        if name.upper() in _PROXIES:
            remember_url(value)
        elif name.upper() in _PASSWORDS:
            _remember(value)
        elif _VARIABLES.fullmatch(name) and not value.startswith(("/", "~", "./")):
            _remember(value)
            if ";" in value or "=" in value:  # a connection string, or headers
                for part in re.split("[;,&]", value):
                    _remember(part.partition("=")[2].strip())


def showable(url: str) -> str:
    """The URL as any message, log, report or metric may hold it: every place that shows one asks here."""
    from metaferry.urls import redact

    shown = redact(url)
    for secret in sorted(_in_paths, key=len, reverse=True):
        shown = shown.replace(secret, "***")
    return shown


def mask(text: str, *, shortest: int = _STRONG) -> str:
    """The text with `***` for every secret that is known and has so many characters."""
    for secret in sorted(_known, key=len, reverse=True):
        if (len(secret) >= shortest or secret in _in_paths) and secret in text:
            text = text.replace(secret, "***")
    return text


def mask_foreign(text: str) -> str:
    """The same for words that are not ours: with short secrets, what looks like a token, and no user and
    query in any URL."""
    masked = _URL.sub(lambda found: showable(found[0]).partition("?")[0], mask(text, shortest=_SHORTEST))
    for shape in _SHAPES:
        masked = shape.sub(_without_last, masked)
    return masked


def _without_last(found: re.Match[str]) -> str:
    """What was found without its last group, or without all of it."""
    if not found.re.groups:
        return "***"
    return found[0][: found.start(1) - found.start()] + "***"


def _remember(secret: str) -> None:
    if len(secret) >= _SHORTEST:
        _known.pop(secret, None)
        _known[secret] = None
        if len(_known) > _MOST:
            oldest = next(iter(_known))
            del _known[oldest]
            _in_paths.pop(oldest, None)


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, str(name))
    elif isinstance(value, str):
        yield key, value
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for item in value:
            yield from _texts(item, key)
