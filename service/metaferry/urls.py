"""The URLs of datasources: parsing them, and showing them without secrets. Pure functions."""

from __future__ import annotations

import difflib
import re
from typing import Final

from metaferry.errors import UsageError

#: Schemes with an adapter of their own; any other that fsspec knows is served by `fsspec_adapter.py`.
SCHEMES: Final[dict[str, str]] = {
    "": "local",
    "file": "local",
    "local": "local",
    "memory": "memory",
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)\Z", re.DOTALL)

#: Where one part of a chained URL ends and the next one begins.
_CHAIN: Final = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*(?:://|::))")
_ANY_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)\Z", re.DOTALL)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%\w]*\]|[^:@\[\]]*)(:[0-9]*)?")
#: `http:/user:password@host`, a slip that makes a path of a URL.
_PATH_WITH_PASSWORD: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*:/*)[^/@\s]*:[^\s]*@", re.IGNORECASE)
#: In the query of a store whose keys may hold a `?`.
_SIGNED: Final = re.compile(
    r"[?&#][^=&/]*(sig|token|secret|passw|credential|auth|[-_.]?key)[^=&/]*=", re.IGNORECASE
)

#: File systems of fsspec that only read through another one, which follows behind a `::`.
_WRAPPERS: Final = frozenset(
    ["zip", "tar", "libarchive", "simplecache", "filecache", "cached", "blockcache", "dir", "reference"]
)
_FIRST: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:://.*)?\Z", re.DOTALL)
#: What a chained URL is answered with.
NO_CHAIN: Final = "is a chained URL, which is not supported"
NO_CHAIN_ADVICE: Final = "unpack the archive, or name the object itself"

#: In the host of a container's URL as the Azure portal shows it.
_HOSTS: Final = (".blob.core.", ".dfs.core.")


def split_scheme(url: str) -> tuple[str, str]:
    """`("s3", "bucket/prefix")`; the scheme is lower case, and "" for a path."""
    match = _SCHEME.match(url)
    if match is None:
        return ("file", url[5:]) if url.startswith("file:/") else ("", url)
    scheme = match[1].lower()
    return scheme, match[2]


def schemes_like(name: str) -> list[str]:
    """What may be meant by a scheme that nobody serves; a store's own name is known too."""
    from fsspec.registry import known_implementations, registry

    stores = [scheme for scheme, store in SCHEMES.items() if store == name]
    known = sorted({*filter(None, SCHEMES), *known_implementations, *registry})
    return stores or difflib.get_close_matches(name, known, 3)


def is_served(scheme: str) -> bool:
    """Whether there is a file system for it, ours or one that fsspec knows, installed or not."""
    from fsspec.registry import known_implementations, registry

    return scheme in SCHEMES or scheme in registry or scheme in known_implementations


def split_bucket(rest: str, shown: str) -> tuple[str, str]:
    """Bucket, and the prefix that all keys of the datasource have: "" or something with a `/` at its end.

    Everything after the bucket is taken as it stands: no quoting, no query, no fragment.
    """
    bucket, _, prefix = rest.partition("/")
    if not bucket or "@" in bucket:
        raise UsageError(f"{shown}: there is no bucket in this URL", advice="write s3://bucket/prefix/")
    prefix = prefix.rstrip("/")
    if any(segment in ("", ".", "..") for segment in prefix.split("/") if prefix):
        raise UsageError(f"{shown}: the prefix holds an empty, `.` or `..` segment")
    return bucket, prefix + "/" if prefix else ""


def bucket_and_key(url: str) -> tuple[str, str, str] | None:
    """Of a URL of S3, GCS, Azure or memory: the bucket's URL, its name, and the key or prefix in it.

    None for stores that have no buckets. The key is as it stands, with the `/` at its end or without.
    """
    scheme, rest = split_scheme(url)
    kind = "azure" if is_blob_url(scheme, rest) else SCHEMES.get(scheme)
    if kind in ("s3", "gcs", "memory"):
        bucket, _, key = rest.partition("/")
        return f"{scheme}://{bucket}", bucket, key
    if kind != "azure":
        return None
    place, mark, query = rest.partition("?")
    bucket, _, _ = azure_location(rest, redact(url))
    segments = place.split("/")
    ours = 1 if segments[0].rpartition("@")[0] or segments[0] == bucket else 2  # or host, then container
    root = f"{scheme}://{'/'.join(segments[:ours])}{mark}{query}"
    return root, bucket, "/".join(segments[ours:])


def split_signature(url: str) -> tuple[str, str]:
    """An Azure URL and its query, which is a SAS, from the `?` on; any other URL as it stands, and ""."""
    scheme, rest = split_scheme(url)
    if SCHEMES.get(scheme) != "azure" and not is_blob_url(scheme, rest):
        return url, ""
    place, mark, query = url.partition("?")
    return place, mark + query


def redact(url: str) -> str:
    """The URL for people: no user name, password, token or query that could be a signature.

    Each part of a chained URL (`zip://a.csv::https://…`) by itself. Passwords may hold what a URL does
    not allow them to (`/`, `?`, `#`, `@`, `::`): where that leaves a doubt, more is left out.
    """
    return "::".join(_taken_apart(part)[0] for part in _parts(url))


def hidden_in(url: str) -> list[str]:
    """What `redact` leaves out: user names and passwords, and the values of a query."""
    return [text for part in _parts(url) for text in _taken_apart(part)[1] if text]


def is_chained(url: str) -> bool:
    """Whether it is a chain of file systems to fsspec: `zip://a.csv::s3://b/x.zip`, `simplecache::…`.

    A path, or a key in a bucket, that merely contains `::` is none.
    """
    scheme = url.partition("::")[0].partition("://")[0].lower()
    if "::" in url and scheme in _WRAPPERS:
        return True
    parts = _parts(url)
    return len(parts) > 1 and "://" in parts[-1] and _FIRST.match(parts[0]) is not None


def faulty_authority(url: str) -> bool:
    """Whether the port of an http(s) URL is no number: as a rule a password has a `/` that is not quoted."""
    for part in _parts(url):
        scheme, rest = split_scheme(part)
        put_credential = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
        if scheme in ("http", "https") and _HOST.fullmatch(put_credential) is None and ":" in put_credential:
            return True
    return False


def _parts(url: str) -> list[str]:
    """The parts of a chained URL; a `::` behind `user:` and before an `@` is taken for one in a password."""
    parts = _CHAIN.split(url)
    for at, part in enumerate(parts[:-1]):
        match = _ANY_SCHEME.search(part)
        first = match[2].partition("/")[0] if match is not None else ""
        if ":" in first and "@" not in first and any("@" in later for later in parts[at + 1 :]):
            return [*parts[:at], "::".join(parts[at:])]
    return parts


def _taken_apart(url: str) -> tuple[str, list[str]]:
    """One part of a chained URL without its credentials, and those."""
    match = _ANY_SCHEME.search(url)
    if match is None:
        return _PATH_WITH_PASSWORD.sub(r"\1***@", url), []
    before, scheme, rest = url[: match.start()], match[1].lower(), match[2]
    web = scheme in ("http", "https")
    kind = SCHEMES.get(scheme)
    hidden: list[str] = []
    first = re.split("[/?#]" if web else "/", rest, maxsplit=1)[0]
    named = kind == "azure" and first.count("@") == 1 and ":" not in first  # container@account is a name
    arn = kind == "s3" and first.startswith("arn:")
    if "@" in rest and (":" in first or "@" in first) and not named and not arn:
        user, _, host = rest.rpartition("@")
        hidden += [user, user.partition(":")[2]]
        # What is behind the first @ is the host, where nothing else can be.
        rest = host if user == first.partition("@")[0] else f"***@{host}"
    elif kind is None and ":" in first and _HOST.fullmatch(first) is None:
        hidden.append(first)
        rest = f"***{rest[len(first) :]}"
    query = re.search("[?#]" if web else "[?]", rest)
    if query is not None and (web or kind == "azure" or _SIGNED.search(rest)):
        hidden += [value.partition("=")[2] for value in re.split("[?&#]", rest[query.start() :])]
        rest = rest[: query.start()]
    return f"{before}{scheme}://{rest}", hidden


def holds_secret(url: str) -> bool:
    """Whether `redact` leaves something out that may be a credential."""
    return redact(url).casefold() != url.casefold()  # it spells the scheme in small letters


def azure_location(rest: str, shown: str) -> tuple[str, str, dict[str, str]]:
    """Container, prefix and options out of `container/prefix`, `container@account.host/prefix` or
    `account.blob.core.windows.net/container/prefix`, each with a SAS for a query. Raises `UsageError`."""
    place, _, query = rest.partition("?")
    first, _, prefix = place.partition("/")
    container, at, host = first.rpartition("@")
    options: dict[str, str] = {}
    if at:
        options = _account(host)
    elif any(part in host for part in _HOSTS):
        options = _account(host)
        container, _, prefix = prefix.partition("/")
    else:
        container = host
    if "sig=" in query:  # a container's URL as the portal gives it out, with its signature
        options["sas_token"] = query
    if ":" in container:
        raise UsageError(f"{shown}: credentials do not belong in the URL", advice="give them as options")
    name, below = split_bucket(f"{container}/{prefix}", shown)
    return name, below, options


def _account(host: str) -> dict[str, str]:
    account = {"account_name": host.partition(".")[0]}
    if "." in host and not host.endswith(".windows.net"):  # a sovereign cloud
        account["account_host"] = host.replace(".dfs.", ".blob.")
    return account


def is_blob_url(scheme: str, rest: str) -> bool:
    """Whether this is a container as the Azure portal shows it: https://account.blob.core.…/container."""
    return scheme == "https" and ".blob.core." in rest.partition("/")[0]
