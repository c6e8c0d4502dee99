"""What this machine has: versions, proxies, and the disk of the scratch folder. No requests."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from metaferry.masking import mask, showable
from metaferry.storage.local.disk_names import to_disk
from metaferry.version import __version__

_LIBRARIES: Final = {
    "": ("duckdb", "pyarrow", "fsspec"),
    "s3": ("s3fs", "aiobotocore"),
    "gcs": ("gcsfs",),
    "azure": ("adlfs", "azure-storage-blob"),
}
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Scratch:
    """The scratch folder: bytes free, whether it can be written."""

    folder: str
    free: int
    writable: bool


def versions(stores: set[str]) -> str:
    """`metaferry 0.1.0, Python 3.11.2, duckdb 2.0.0, …`: those that the job's stores use."""
    names = [name for store, names in _LIBRARIES.items() if not store or store in stores for name in names]
    found = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join([f"metaferry {__version__}", f"Python {platform.python_version()}", *found])


def proxies(environment: Mapping[str, str]) -> list[str]:
    """`https_proxy=http://proxy:3128` for each that is set, without user and password."""
    seen = {}
    for name in _PROXIES:
        value = environment.get(name) or environment.get(name.upper())
        if value:
            seen[name] = value if name == "no_proxy" else mask(_without_user(value))
    return [f"{name}={value}" for name, value in seen.items()]


def scratch(folder: str | None) -> Scratch:
    where = folder or tempfile.gettempdir()
    at = to_disk(where)
    try:
        free = shutil.disk_usage(at).free
    except OSError:
        return Scratch(where, 0, writable=False)
    return Scratch(where, free, os.access(at, os.W_OK | os.X_OK))


def _without_user(url: str) -> str:
    """A proxy may be written without a scheme: `user:password@proxy:3128`."""
    scheme, mark, rest = url.rpartition("://")
    return showable(f"{scheme}{mark}{rest.rpartition('@')[2]}")
