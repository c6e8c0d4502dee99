"""From a URL and its options to a `Storage`; the only place that knows which store is which.

Opening is cheap and makes no request: it loads the library of that one scheme, and the client is
made on first use. Options are those of the scheme's fsspec file system and pass through unchanged,
except where ours must win (its own retries and caches off, a pool as large as the concurrency).
"""

from __future__ import annotations

import asyncio
import difflib
import importlib
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import unquote

from metaferry.errors import UsageError
from metaferry.storage.contract import Adapter
from metaferry.storage.retry import Policy, Retrying

#: Which library speaks to S3, GCS and Azure.
Transport = Literal["auto", "fsspec", "obstore"]

#: Schemes with an adapter of their own; any other that fsspec knows is served by `generic.py`.
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


def open_storage(
    url: str,
    options: Mapping[str, Any] | None = None,
    *,
    concurrency: int = 64,
    retry_for: float = 300.0,
    max_rate: float | None = None,
    page_size: int | None = None,
    transport: Transport = "auto",
    wrap: Callable[[Adapter], Adapter] = lambda adapter: adapter,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    rng: random.Random | None = None,
) -> Retrying:
    """The datasource at `url`, retried. Raises `UsageError` for a URL or a scheme nobody serves.

    `transport` says whether S3 is spoken to over sockets of our own and through obstore: "auto" where
    they do exactly what the fsspec library would do, "fsspec" never; "obstore" is without the sockets,
    and a `UsageError` where it cannot. `wrap` puts something of the caller's between the adapter and
    the retry layer.
    """
    adapter = open_adapter(url, options, concurrency=concurrency, page_size=page_size, transport=transport)
    return Retrying(
        wrap(adapter),
        Policy(retry_for=retry_for),
        concurrency=concurrency,
        max_rate=max_rate,
        clock=clock,
        sleep=sleep,
        rng=rng,
    )


def open_adapter(
    url: str,
    options: Mapping[str, Any] | None = None,
    *,
    concurrency: int = 64,
    page_size: int | None = None,
    transport: Transport = "auto",
) -> Adapter:
    """The bare adapter: single attempts. For wrappers that stand below the retry layer."""
    scheme, rest = split_scheme(url)
    given = dict(options or {})
    shown = redact(url)
    kind = "azure" if _is_blob_url(scheme, rest) else SCHEMES.get(scheme)
    if kind == "local":
        from metaferry.storage.local import LocalAdapter

        _no_options(scheme or "a local path", given)
        return LocalAdapter(_local_path(scheme, rest), url=shown, threads=concurrency, page_size=page_size)
    if kind == "memory":
        from metaferry.storage.memory import MemoryAdapter

        _no_options(scheme, given)
        return MemoryAdapter(rest, url=shown, page_size=page_size)
    _library("az" if kind == "azure" else scheme)
    if kind == "s3":
        from metaferry.storage.s3 import S3Adapter

        bucket, prefix = split_bucket(rest, shown)
        s3 = S3Adapter(bucket, prefix, given, url=shown, concurrency=concurrency, page_size=page_size)
        if transport == "fsspec":
            return s3
        from metaferry.storage.fast import with_obstore
        from metaferry.storage.fast_s3 import s3_dialect

        return with_obstore(
            s3, s3_dialect(bucket, prefix, given, concurrency=concurrency), transport=transport
        )
    if kind == "gcs":
        from metaferry.storage.gcs import GcsAdapter

        bucket, prefix = split_bucket(rest, shown)
        gcs = GcsAdapter(bucket, prefix, given, url=shown, concurrency=concurrency, page_size=page_size)
        if transport == "fsspec":
            return gcs
        _refuse_obstore(shown, transport)
        from metaferry.storage.fast_gcs import GcsDialect
        from metaferry.storage.fast_threads import with_sockets

        return with_sockets(gcs, lambda: GcsDialect(bucket, prefix, given))
    if kind == "azure":
        from metaferry.storage.azure import AzureAdapter, azure_location

        container, prefix, more = azure_location(rest, shown)
        given = {**more, **given}
        azure = AzureAdapter(
            container, prefix, given, url=shown, concurrency=concurrency, page_size=page_size
        )
        if transport == "fsspec":
            return azure
        _refuse_obstore(shown, transport)
        from metaferry.storage.fast_azure import AzureDialect
        from metaferry.storage.fast_threads import with_sockets

        return with_sockets(azure, lambda: AzureDialect(container, prefix, given))
    from metaferry.storage.generic import GenericAdapter

    return GenericAdapter(url, given, shown=shown, concurrency=concurrency, page_size=page_size)


def _refuse_obstore(shown: str, transport: Transport) -> None:
    """GCS and Azure: obstore's puts to them carry no checksum, and its answers no hash."""
    if transport == "obstore":
        raise UsageError(
            f"{shown}: `transport: obstore` cannot be had, since the store could not check what it got",
            advice="write `transport: auto`: obstore's puts carry a checksum to S3 only",
        )


def split_scheme(url: str) -> tuple[str, str]:
    """`("s3", "bucket/prefix")`; the scheme is lower case, and "" for a path."""
    match = _SCHEME.match(url)
    if match is None:
        return ("file", url[5:]) if url.startswith("file:/") else ("", url)
    scheme = match[1].lower()
    return scheme, match[2]


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
    kind = "azure" if _is_blob_url(scheme, rest) else SCHEMES.get(scheme)
    if kind in ("s3", "gcs", "memory"):
        bucket, _, key = rest.partition("/")
        return f"{scheme}://{bucket}", bucket, key
    if kind != "azure":
        return None
    from metaferry.storage.azure import azure_location

    place, mark, query = rest.partition("?")
    bucket, _, _ = azure_location(rest, redact(url))
    segments = place.split("/")
    ours = 1 if segments[0].rpartition("@")[0] or segments[0] == bucket else 2  # or host, then container
    root = f"{scheme}://{'/'.join(segments[:ours])}{mark}{query}"
    return root, bucket, "/".join(segments[ours:])


def redact(url: str) -> str:
    """The URL for people: no user name, password, token or query that could be a signature."""
    match = _SCHEME.match(url)
    if match is None:
        return url
    scheme, rest = match[1].lower(), match[2]
    authority, slash, path = rest.partition("/")
    if scheme in ("http", "https"):
        authority = re.split("[?#]", authority)[0]  # a query may stand right behind the host
    user, at, host = authority.rpartition("@")
    if at and not (scheme in ("abfs", "abfss", "az") and ":" not in user):
        authority = host  # container@account is a name, user:password@host is not
    if scheme in ("http", "https", "az", "abfs", "abfss") or re.search(r"[?&](sig|X-Amz-\w+|token)=", path):
        path = path.partition("?")[0]
    return f"{scheme}://{authority}{slash}{path}"


def holds_secret(url: str) -> bool:
    """Whether `redact` leaves something out that may be a credential."""
    return redact(url).casefold() != url.casefold()  # it spells the scheme in small letters


def _is_blob_url(scheme: str, rest: str) -> bool:
    """Whether this is a container as the Azure portal shows it: https://account.blob.core.…/container."""
    return scheme == "https" and ".blob.core." in rest.partition("/")[0]


def _local_path(scheme: str, rest: str) -> str:
    import os

    if not scheme:
        return os.path.expanduser(rest)
    path = rest.removeprefix("localhost") if rest.startswith("localhost/") else rest
    return unquote(path) if "%" in path and not os.path.exists(path) else path


def _no_options(scheme: str, options: Mapping[str, Any]) -> None:
    unknown = sorted(set(options) - {"auto_mkdir", "use_listings_cache", "skip_instance_cache"})
    if unknown:
        raise UsageError(f"{scheme} takes no options, but was given {', '.join(unknown)}")


def _library(scheme: str) -> None:
    """Raises `UsageError` unless fsspec knows the scheme and its library is installed."""
    from fsspec.registry import known_implementations, registry

    if scheme in registry:
        return
    if scheme not in known_implementations:
        known = sorted({*filter(None, SCHEMES), *known_implementations, *registry})
        near = difflib.get_close_matches(scheme, known, 3)
        raise UsageError(
            f"no file system is known for {scheme}://",
            advice=f"did you mean {' or '.join(name + '://' for name in near)}?"
            if near
            else "use s3://, gs://, az://, a local path, or any scheme of an installed fsspec file system",
        )
    module = str(known_implementations[scheme]["class"]).replace(":", ".").split(".")[0]
    try:
        importlib.import_module(module)
    except ImportError:
        raise UsageError(
            f"{scheme}:// needs the Python package {module}, which is not installed",
            advice=str(known_implementations[scheme].get("err") or f"install {module}"),
        ) from None
