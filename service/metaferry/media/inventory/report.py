"""Finds an inventory report: the manifest at a URL, or the newest one in a folder, and its data files.

A manifest is compared with the checksum file beside it. No data file is read here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from metaferry.errors import JobError, NotFound
from metaferry.lightly.document import md5_hex
from metaferry.masking import showable
from metaferry.media.inventory.manifest import NAME, DataFile, Manifest, NotReady, parse_manifest, path_time
from metaferry.storage.io.portal import Portal
from metaferry.storage.listing.checked_pages import listed
from metaferry.storage.protocol import Storage
from metaferry.urls import bucket_and_key

_LARGEST_MANIFEST: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Inventory:
    """A report that was found. `url` is that of its manifest, for people; `keys` are its data files."""

    url: str
    manifest: Manifest
    place: str
    storage: Storage
    keys: tuple[str, ...]


def open_inventory(
    url: str, *, place: str, storage_for: Callable[[str], Storage], portal: Portal
) -> Inventory:
    """The report whose manifest is at `url`, or the newest finished one in that folder.

    `storage_for(url)` opens a folder or bucket. The manifest is compared with its checksum file where
    there is one. Raises JobError (with `place`) for what is no report, for a folder with none or with
    those of several buckets or rules, and for a damaged manifest; StorageError from the store.
    """
    if not url.partition("?")[0].endswith(".json"):  # a signature may follow
        return _newest(url, place, storage_for, portal)
    where = bucket_and_key(url)
    root: str
    bucket: str | None
    if where is not None:
        root, bucket, key = where
    else:
        head, _, name = url.rpartition("/")
        above, _, folder = head.rpartition("/")
        root, bucket, key = (above or "/", None, f"{folder}/{name}") if folder else (head or ".", None, name)
    storage = storage_for(root)
    shown = showable(url)
    try:
        data = portal.run(_small(storage, key))
    except NotFound as error:
        raise JobError(
            f"there is no manifest {shown}" if error.path else error.message,
            place=place,
            advice="name the manifest.json of a report, or the folder that reports are delivered to",
        ) from error
    _check_manifest(storage, key, data, shown, place, portal)
    manifest = parse_manifest(data, shown, place)
    folder, _, _ = key.rpartition("/")
    keys = tuple(_key_of(file, manifest, folder, bucket) for file in manifest.files)
    return Inventory(shown, manifest, place, storage, keys)


def _newest(url: str, place: str, storage_for: Callable[[str], Storage], portal: Portal) -> Inventory:
    """The newest report below a folder, by the times in the manifests' paths."""
    folder = url if url.endswith("/") else url + "/"
    where = bucket_and_key(url)
    root, prefix = (folder, "") if where is None else (where[0], where[2].rstrip("/") + "/")
    prefix = "" if prefix == "/" else prefix
    shown = showable(url)
    found: list[tuple[str, float, str]] = []
    series: set[str] = set()
    for entry in portal.run(listed(storage_for(root), prefix, lambda entry: bool(NAME.search(entry.path)))):
        time, name = path_time(entry.path)
        found.append((time, entry.mtime, entry.path))
        series.add(name)
    if not found:
        raise JobError(
            f"no inventory has been delivered to {shown}: there is no manifest.json below it",
            place=place,
            advice="the first report comes up to two days after the inventory was set up",
        )
    if len(series) > 1:
        raise JobError(
            f"{shown} holds several inventories, such as {' and '.join(sorted(series)[:2])}",
            place=place,
            advice="name the folder of one of them, or a manifest",
        )
    late: NotReady | None = None
    base, mark, query = root.partition("?")
    for _, _, path in sorted(found, reverse=True):
        try:
            return open_inventory(
                f"{base.rstrip('/')}/{path}{mark}{query}",
                place=place,
                storage_for=storage_for,
                portal=portal,
            )
        except NotReady as error:
            late = late or error
    assert late is not None
    raise late


def _check_manifest(storage: Storage, key: str, data: bytes, shown: str, place: str, portal: Portal) -> None:
    """Compares the manifest with the MD5 in the file beside it; Google's reports have none."""
    try:
        wanted = portal.run(_small(storage, key.removesuffix(".json") + ".checksum"))
    except NotFound:
        return
    found = md5_hex(data)
    if wanted.decode("ascii", "replace").strip().lower() != found:
        raise JobError(
            f"{shown} does not match its checksum file",
            place=place,
            advice="it may have been written anew just now: run it again, or name another report",
        )


async def _small(storage: Storage, key: str) -> bytes:
    return (await storage.read(key, 0, _LARGEST_MANIFEST)).data


def _key_of(file: DataFile, manifest: Manifest, folder: str, bucket: str | None) -> str:
    """Where a data file is. A report that was copied elsewhere keeps its shape, not its bucket."""
    if manifest.stored_in is not None and manifest.stored_in == bucket:
        return file.path
    if manifest.kind == "s3":  # …/config/DATE/manifest.json and …/config/data/…
        folder = f"{folder.rpartition('/')[0]}/data".lstrip("/")
    return f"{folder}/{file.path.rpartition('/')[2]}".lstrip("/")
