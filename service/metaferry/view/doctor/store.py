"""Measurements of a store: what may be listed, read, written and deleted, how it behaves, and how fast.

All keys that are written are below `doctor/` of the state folder, under a name of this run. Of the documents'
folder only conditional requests are made, for a key that does not exist, under a token that nothing has.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from metaferry.errors import Conflict, Denied, NotFound, StorageError, Unsupported
from metaferry.lightly.names import DOCUMENTS
from metaferry.media.listing import RESERVED, MediaFilter
from metaferry.storage.capability_probe import Honoured
from metaferry.storage.keys import md5_hex
from metaferry.storage.listing.checked_pages import listed
from metaferry.storage.local.adapter import LocalAdapter
from metaferry.storage.protocol import Entry, Storage
from metaferry.storage.retry.storage import Retrying
from metaferry.view.doctor.model import Measured, measured

#: The folder of the state folder that has the keys of this command alone.
FOLDER: Final = "doctor/"
#: Requests that latency is taken from, and seconds after which a key of another run is a leftover.
_REQUESTS: Final = 20
_LEFT_OVER: Final = 600.0
#: Folders that are looked into for media, and a key behind all of `.lightly/` and `.metaferry/`.
_FOLDERS: Final = 3
_BEHIND_OURS: Final = ".metaferry0"
_OURS: Final = re.compile(r"(?P<machine>[^/]+)-(?P<pid>\d+)-[0-9a-f]{16}/")
#: Tokens that no object has, by store: an ETag, a generation, and anything.
_IMPOSSIBLE: Final = {"gcs": "1", "s3": "0" * 32, "azure": "0x0000000000000000"}


def impossible_token(store: str) -> str:
    return _IMPOSSIBLE.get(store, "0-0-0")


@dataclass(frozen=True, slots=True)
class Listing:
    """The first page of a listing: how many keys and media, the first medium, and whether there is more."""

    keys: int
    media: int
    first: str | None
    more: bool


async def first_page(storage: Storage, prefix: str = "", start_after: str | None = None) -> Listing:
    """One page of keys below a prefix; a folder that is not there yet is an empty one."""
    return await _page(storage, prefix, None, start_after)


async def find_media(storage: Storage, wanted: MediaFilter) -> Listing:
    """The first page that has media, of a few. Documents come before the media in most datasources, and there
    may be many pages of them, so the folders of the datasource are looked into next."""
    first = await _page(storage, "", wanted, None)
    if first.media or not first.more:
        return first
    level = await storage.list_level("")
    if level is None:
        with suppress(Unsupported):
            return await _page(storage, "", wanted, _BEHIND_OURS)
        return first
    media = [entry.path for entry in level.entries if wanted.classify(entry.path)[1]]
    if media:
        return Listing(len(level.entries), len(media), media[0], more=True)
    for folder in [each for each in level.folders if each not in RESERVED][:_FOLDERS]:
        page = await _page(storage, folder, wanted, None)
        if page.media:
            return Listing(page.keys, page.media, page.first, more=True)
    return first


async def _page(
    storage: Storage, prefix: str, wanted: MediaFilter | None, start_after: str | None
) -> Listing:
    pages = 0
    entries: list[Entry] = []
    try:
        async for page in storage.list(prefix, start_after=start_after):
            pages += 1
            if pages > 1:
                break
            entries = page
    except NotFound:
        if wanted is not None:
            raise
    media = [entry.path for entry in entries if wanted is not None and wanted.classify(entry.path)[1]]
    return Listing(len(entries), len(media), media[0] if media else None, pages > 1)


@dataclass(slots=True)
class Written:
    """What the state folder let us do. Each is skipped where the one before failed."""

    may_delete: Measured[bool] = field(default_factory=Measured)
    write: Measured[bool] = field(default_factory=Measured)
    overwrite: Measured[bool] = field(default_factory=Measured)
    delete: Measured[bool] = field(default_factory=Measured)
    read_back: Measured[bool] = field(default_factory=Measured)
    listed: Measured[bool] = field(default_factory=Measured)
    md5: Measured[str] = field(default_factory=Measured)
    honoured: Measured[Honoured] = field(default_factory=Measured)
    seconds: Measured[list[float]] = field(default_factory=Measured)
    left: list[str] = field(default_factory=list)

    @classmethod
    def skipped(cls, why: str) -> Written:
        none: dict[str, Any] = {
            name: Measured(skipped=why) for name in cls.__dataclass_fields__ if name != "left"
        }
        return cls(**none)


async def try_state(
    storage: Storage, folder: str, name: str, clock: Callable[[], float], living: Callable[[str], bool]
) -> Written:
    """Writes, overwrites, reads, lists and deletes below `folder` + `name`, which is an unused folder.

    The delete of a key that does not exist comes first: without that right nothing is written, since it
    could not be removed. Whatever was written is deleted at the end; `left` names what could not be.
    """
    at = f"{folder}{name}"
    found = Written.skipped("the write before it failed")
    found.may_delete = await measured(_true(storage.delete(f"{at}missing")))
    if not found.may_delete.done:
        why = "what is written could not be deleted again"
        return replace(Written.skipped(why), may_delete=found.may_delete)
    body, second = b'{"metaferry":"doctor"}', b'{"metaferry":"doctor","version":2}'
    keys = [f"{at}probe.json"]
    try:
        found.write = await measured(_true(storage.put(keys[0], body)))
        if not found.write.done:
            return found
        found.overwrite = await measured(_true(storage.put(keys[0], second)))
        in_place = second if found.overwrite.done else body
        found.read_back = await measured(_reads(storage, keys[0], in_place))
        entry = await measured(_entry(storage, at, keys[0]))
        found.listed = Measured(entry.value is not None, entry.error)
        if entry.value is None:
            found.md5 = Measured(skipped="the listing did not show the file")
        else:
            found.md5 = Measured(_md5_of(entry.value, in_place))
        if found.overwrite.done and isinstance(storage, Retrying):
            found.honoured = await measured(_honoured_by(storage, f"{at}conditions.json"))
        elif not found.overwrite.done:
            found.honoured = Measured(skipped="a file could not be overwritten")
        found.seconds = await measured(_timed(storage, at, keys, clock))
    finally:
        found.delete = await measured(_remove(storage, keys, found.left))
    await measured(_clean(storage, folder, name, living))
    return found


async def may_put(storage: Storage, store: str, name: str) -> bool:
    """Whether documents may be written: a put that cannot succeed, at a key that does not exist.

    True for an answer about the condition (404, 412): those who lack the right get 403, which is False.
    Raises the StorageError of any other answer.
    """
    key = f"{DOCUMENTS}.metaferry-doctor-{name}"
    adapter = storage.adapter if isinstance(storage, Retrying) else storage
    if isinstance(adapter, LocalAdapter):
        return _may_write_folder(storage.url, DOCUMENTS)
    try:
        await adapter.put(key, b"{}", only_if=impossible_token(store))
    except Conflict:
        return True
    except NotFound as error:
        if not error.path:
            raise
        return True
    except Denied:
        return False
    # The store ignored the condition after all.
    await storage.delete(key)
    return True


async def read_seconds(storage: Storage, key: str, clock: Callable[[], float]) -> list[float]:
    """Seconds of reads of a key that need not be there."""
    taken = []
    for _ in range(_REQUESTS):
        began = clock()
        try:
            await storage.read(key)
        except NotFound as error:
            if not error.path:
                raise
        taken.append(clock() - began)
    return taken


# -- helpers


def _may_write_folder(url: str, folder: str) -> bool:
    """Whether a file could be made in a local folder, or its nearest parent that is there."""
    at = os.path.join(url.removeprefix("file://"), folder)
    while not os.path.isdir(at):
        at, last = os.path.dirname(at.rstrip("/")), at
        if at == last:
            return False
    return os.access(at, os.W_OK | os.X_OK)


async def _true(work: Any) -> bool:
    await work
    return True


async def _honoured_by(storage: Retrying, key: str) -> Honoured:
    """What the store itself does: an adapter checks before the write where the store refuses conditions."""
    found = await storage.probe_conditions(key)
    able = storage.capabilities
    return Honoured(found.create and able.conditional, found.replace and able.replaces, found.lists)


async def _reads(storage: Storage, key: str, wanted: bytes) -> bool:
    return (await storage.read(key)).data == wanted


async def _entry(storage: Storage, prefix: str, key: str) -> Entry | None:
    return next((entry for entry in await listed(storage, prefix) if entry.path == key), None)


def _md5_of(entry: Entry, data: bytes) -> str:
    """`equal`, `other` or `none`: what the listing shows as the MD5 of the file."""
    if entry.md5 is None:
        return "none"
    return "equal" if entry.md5 == md5_hex(data) else "other"


async def _timed(storage: Storage, at: str, keys: list[str], clock: Callable[[], float]) -> list[float]:
    """Seconds of puts of small files, each under a name of its own: stores limit writes to one name."""
    taken = []
    for number in range(_REQUESTS):
        key = f"{at}latency-{number:02d}.json"
        keys.append(key)
        began = clock()
        await storage.put(key, b"{}")
        taken.append(clock() - began)
    return taken


async def _remove(storage: Storage, keys: list[str], left: list[str]) -> bool:
    failed: StorageError | None = None
    for key in keys:
        try:
            await storage.delete(key)
        except StorageError as error:
            failed = failed or error
            left.append(key)
    _remove_folder(storage, keys[0].rpartition("/")[0])
    if failed is not None:
        raise failed
    return True


async def _clean(storage: Storage, folder: str, name: str, living: Callable[[str], bool]) -> None:
    """Removes what a killed run left: its process is gone, or its keys are ten minutes older than now.

    Ages are differences of the store's own times.
    """
    probe = f"{folder}{name}now"
    await storage.put(probe, b"1")
    try:
        entries = await listed(storage, folder)
        now = max((entry.mtime for entry in entries if entry.path == probe), default=0.0)
        for entry in entries:
            run = entry.path.removeprefix(folder)
            if not run.startswith(name) and (not living(run) or 0 < entry.mtime < now - _LEFT_OVER):
                await storage.delete(entry.path)
                _remove_folder(storage, entry.path.rpartition("/")[0])
    finally:
        await storage.delete(probe)
        _remove_folder(storage, probe.rpartition("/")[0])
        _remove_folder(storage, folder.rstrip("/"))


def _remove_folder(storage: Storage, folder: str) -> None:
    adapter = storage.adapter if isinstance(storage, Retrying) else None
    if isinstance(adapter, LocalAdapter):
        adapter.remove_empty(folder)


def is_living(run: str, machine: str) -> bool:
    """Whether the run that named a key may still be under way: another machine's may."""
    match = _OURS.match(run)
    if match is None:
        return False
    if match["machine"] != machine:
        return True
    try:
        os.kill(int(match["pid"]), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
