"""Opens the `Storage` of a URL and its options; the only module that imports the stores.

Opening is cheap and makes no request: it loads the library of that one scheme, and the client is
made on first use. Options are those of the scheme's fsspec file system and pass through unchanged,
except where ours must win (its own retries and caches off, a pool as large as the concurrency).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from metaferry.errors import UsageError
from metaferry.masking import showable
from metaferry.storage.capability_probe import Honoured
from metaferry.storage.option_types import FOLLOW_REDIRECTS, check_types
from metaferry.storage.protocol import Adapter
from metaferry.storage.retry.attempts import Policy
from metaferry.storage.retry.storage import Retrying
from metaferry.urls import (
    NO_CHAIN,
    NO_CHAIN_ADVICE,
    SCHEMES,
    azure_location,
    is_blob_url,
    is_chained,
    schemes_like,
    split_bucket,
    split_scheme,
)

if TYPE_CHECKING:
    from metaferry.storage.base import ObjectStoreAdapter
    from metaferry.storage.http.config import StoreConfig

log = logging.getLogger(__name__)

#: What speaks to S3, GCS and Azure: libcurl where it does exactly what the fsspec library would, or that
#: alone.
Transport = Literal["auto", "fsspec"]


def open_storage(
    url: str,
    options: Mapping[str, Any] | None = None,
    *,
    concurrency: int = 64,
    retry_for: float = 300.0,
    max_rate: float | None = None,
    page_size: int | None = None,
    transport: Transport = "auto",
    honoured: Honoured | None = None,
    wrap: Callable[[Adapter], Adapter] = lambda adapter: adapter,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    rng: random.Random | None = None,
) -> Retrying:
    """The datasource at `url`, retried. Raises `UsageError` for an invalid URL or an unknown scheme.

    `transport` says how S3, GCS and Azure are spoken to: "auto" puts, reads ranges and deletes through
    libcurl, where that does exactly what the fsspec library would; "fsspec" leaves all to the library.
    `honoured` is what is known already about conditions. `wrap` puts something of the caller's between the
    adapter and the retry layer.
    """
    adapter = open_adapter(url, options, concurrency=concurrency, page_size=page_size, transport=transport)
    storage = Retrying(
        wrap(adapter),
        Policy(retry_for=retry_for),
        concurrency=concurrency,
        max_rate=max_rate,
        clock=clock,
        sleep=sleep,
        rng=rng,
    )
    if honoured is not None:
        storage.adopt(honoured)
    return storage


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
    shown = showable(url)
    if is_chained(url):
        raise UsageError(f"{shown} {NO_CHAIN}", advice=NO_CHAIN_ADVICE)
    kind = "azure" if is_blob_url(scheme, rest) else SCHEMES.get(scheme)
    if kind == "local":
        from metaferry.storage.local.adapter import LocalAdapter
        from metaferry.storage.local.links import OPTION

        linked = _linked_folders(given.pop(OPTION, []))
        _no_options(scheme or "a local path", given)
        return LocalAdapter(
            local_path(scheme, rest),
            url=shown,
            threads=concurrency,
            page_size=page_size,
            linked_folders=linked,
        )
    if kind == "memory":
        from metaferry.storage.memory import MemoryAdapter

        _no_options(scheme, given)
        return MemoryAdapter(rest, url=shown, page_size=page_size)
    _library("az" if kind == "azure" else scheme)
    check_types(shown, given)
    if kind not in ("s3", "gcs", "azure"):
        from metaferry.storage.fsspec_adapter import FsspecAdapter

        if FOLLOW_REDIRECTS in given:
            raise UsageError(
                f"{shown}: {FOLLOW_REDIRECTS} is an option of S3, Google Cloud Storage and Azure",
                advice="leave it out: here the file system's own library decides",
            )
        return FsspecAdapter(url, given, shown=shown, concurrency=concurrency, page_size=page_size)
    follow = bool(given.pop(FOLLOW_REDIRECTS, False))
    more: dict[str, Any] = {"concurrency": concurrency, "follow_redirects": follow}
    adapter: type[ObjectStoreAdapter]
    config: Callable[..., StoreConfig]
    if kind == "s3":
        from metaferry.storage.s3.adapter import S3Adapter as adapter
        from metaferry.storage.s3.config import S3Config as config
    elif kind == "gcs":
        from metaferry.storage.gcs.adapter import GcsAdapter as adapter
        from metaferry.storage.gcs.config import GcsConfig as config
    else:
        from metaferry.storage.azure.adapter import AzureAdapter as adapter
        from metaferry.storage.azure.config import AzureConfig as config
    if kind == "azure":
        bucket, prefix, named = azure_location(rest, shown)
        given = {**named, **given}
    else:
        bucket, prefix = split_bucket(rest, shown)
    fsspec = adapter(bucket, prefix, given, url=shown, page_size=page_size, **more)
    if transport == "fsspec":
        log.info("%s: through fsspec alone, as `transport: fsspec` has it", shown)
        return fsspec
    from metaferry.storage.http.adapter import with_libcurl

    return with_libcurl(fsspec, lambda: config(bucket, prefix, given, **more))


def local_path(scheme: str, rest: str) -> str:
    """The path of a local URL; quoted characters stand for what they mean unless there is a file so named."""
    import os

    from metaferry.storage.local.disk_names import to_disk

    if not scheme:
        return os.path.expanduser(rest)
    path = rest.removeprefix("localhost") if rest.startswith("localhost/") else rest
    return unquote(path) if "%" in path and not os.path.exists(to_disk(path)) else path


def _linked_folders(value: Any) -> list[str]:
    folders = value if isinstance(value, list) else [value]
    if not all(isinstance(folder, str) and folder.startswith("/") for folder in folders):
        raise UsageError(
            "linked_folders should be a list of absolute paths",
            advice="name the places that symbolic links below the datasource may lead writes to",
        )
    return folders


def _no_options(scheme: str, options: Mapping[str, Any]) -> None:
    unknown = sorted(set(options) - {"auto_mkdir", "use_listings_cache", "skip_instance_cache"})
    if unknown:
        raise UsageError(f"{scheme} does not take the options that were given: {', '.join(unknown)}")


def _library(scheme: str) -> None:
    """Raises `UsageError` unless fsspec knows the scheme and its library is installed."""
    from fsspec.registry import known_implementations, registry

    if scheme in registry:
        return
    if scheme not in known_implementations:
        near = [f"{name}://" for name in schemes_like(scheme)]
        raise UsageError(
            f"no file system is known for {scheme}://",
            advice=f"did you mean {' or '.join(near)}?"
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
