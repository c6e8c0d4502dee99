"""Puts a local file of any size in its place, in pieces, so that nobody ever sees a part of it.

The contract of `protocol` has whole objects in memory, which is right for documents. This is for files that
people get: on a local disk a temporary file that is renamed; in a store an upload in parts by the fsspec
library of its scheme, which the store shows once it is complete. Small files go through the contract.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from metaferry.masking import showable
from metaferry.storage.errors import Store, errno_failure, storage_error
from metaferry.storage.factory import local_path
from metaferry.storage.fsspec_adapter import RENAMES, fsspec_failure
from metaferry.storage.gcs.client import plain_file_system
from metaferry.storage.io.portal import Portal
from metaferry.storage.local.atomic import synced_names, temporary_name
from metaferry.storage.local.disk_names import to_disk
from metaferry.storage.option_types import FOLLOW_REDIRECTS
from metaferry.storage.protocol import Storage
from metaferry.urls import SCHEMES, azure_location, is_blob_url, split_scheme

#: Bytes up to which a file is one put; and those of a part beyond it.
WHOLE: Final = 32 << 20
_PART: Final = 16 << 20
_PARALLEL: Final = 4
#: What each library calls the size of a part and their number at once.
_PARTS: Final[dict[str, dict[str, Any]]] = {
    "s3": {"chunksize": _PART, "max_concurrency": _PARALLEL},
    "gcs": {"chunksize": _PART},
    "azure": {"max_concurrency": _PARALLEL},
}

_STORES: Final[dict[str, Store]] = {"s3": "s3", "gcs": "gcs", "azure": "azure"}


def put_file(
    source: Path, folder: str, name: str, options: Mapping[str, Any], storage: Storage, portal: Portal
) -> None:
    """The file `source` as `name` in the folder `folder`, a URL or a path, in place of what is there.

    `storage` is that of the folder, opened with the same `options`. Raises StorageError.
    """
    scheme, rest = split_scheme(folder)
    kind = "azure" if is_blob_url(scheme, rest) else SCHEMES.get(scheme)
    if kind == "local":
        _copy(source, to_disk(local_path(scheme, rest) or "/"), name, storage.url)
    elif kind == "memory" or source.stat().st_size <= WHOLE:
        portal.run(storage.put(name, source.read_bytes()))
    else:
        _upload(source, folder, name, kind or "generic", dict(options))


def _copy(source: Path, folder: bytes, name: str, shown: str) -> None:
    temporary = os.path.join(folder, temporary_name().encode())
    try:
        with source.open("rb") as read, open(temporary, "xb") as written:
            shutil.copyfileobj(read, written, 1 << 20)
            written.flush()
            os.fsync(written.fileno())
        with synced_names(folder):
            os.replace(temporary, os.path.join(folder, to_disk(name)))
    except OSError as error:
        raise storage_error(
            errno_failure(error), store="local", url=shown, operation="put", path=name
        ) from None
    finally:
        # It is gone, or what made the copy fail fails this too.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.unlink(temporary)


def _upload(source: Path, folder: str, name: str, kind: str, options: dict[str, Any]) -> None:
    """In parts; the library retries each. What it raises is turned into ours, and its text not shown."""
    import fsspec
    from fsspec.core import url_to_fs

    options.pop(FOLLOW_REDIRECTS, None)
    options["skip_instance_cache"] = True
    try:
        if kind == "azure":
            container, prefix, named = azure_location(split_scheme(folder)[1], showable(folder))
            fs: Any = fsspec.filesystem("az", **{**named, **options})
            base = f"{container}/{prefix}".rstrip("/")
        elif kind == "gcs":
            fs, base = plain_file_system(options), split_scheme(folder)[1]
        else:
            fs, base = url_to_fs(folder, **options)
        target = f"{base.rstrip('/')}/{name}"
        if kind in _PARTS:
            fs.put_file(str(source), target, **_PARTS[kind])
            return
        temporary = f"{base.rstrip('/')}/.metaferry-{secrets.token_hex(8)}.tmp"
        if split_scheme(folder)[0] not in RENAMES:
            temporary = target
        try:
            fs.put_file(str(source), temporary)
            if temporary != target:
                fs.mv(temporary, target)
        except BaseException:
            if temporary != target:
                with contextlib.suppress(Exception):
                    fs.rm_file(temporary)
            raise
    except Exception as error:  # noqa: BLE001 - any library may be behind this, raising anything
        raise storage_error(
            fsspec_failure(error),
            store=_STORES.get(kind, "generic"),
            url=showable(folder),
            operation="put",
            path=name,
        ) from None
