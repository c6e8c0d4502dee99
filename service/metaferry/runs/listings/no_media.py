"""What is there where a run found no media: the files that are none, the globs, the nearest folder names.

Asked only where a run is about to stop for it, so the few requests it makes cost nobody else anything.
"""

from __future__ import annotations

import difflib
import logging
from typing import Final

from metaferry.errors import MetaferryError, NotFound
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.masking import showable
from metaferry.planning.database import Database
from metaferry.planning.formats import MediaListing
from metaferry.runs.storages import Storages
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from metaferry.urls import split_scheme

log = logging.getLogger(__name__)

#: Entries that are looked at where a store cannot tell its folders, and folders that a message names.
_ENTRIES: Final = 20_000
_NAMED: Final = 3
#: Schemes without a bucket: every segment of their URLs is part of a path.
_NO_BUCKET: Final = frozenset({"", "file", "local", "memory"})


def explain_no_media(
    job: Job, database: Database, storages: Storages, portal: Portal, listing: MediaListing, prefix: str
) -> tuple[str, str]:
    """What was looked for and what is there; and what to write instead, "" where nothing is near."""
    where = job.input.shown + (f" (--prefix {prefix})" if prefix else "")
    files, below, refused, example = database.row(
        "SELECT count(*), count(*) FILTER (starts_with(path, $1)), count(*) FILTER (refused), "
        "coalesce(min(path) FILTER (starts_with(path, $1)), '') FROM media",
        [prefix],
    )
    if refused:
        return f"{where} holds no media that can have a document", "the findings name them"
    if below:
        which, them = (f"{below:,} media files", "all of them") if below > 1 else ("one media file", "it")
        return (
            f"{where} holds {which}, and media.include and media.exclude leave out {them}",
            f'widen the globs, which are matched against paths such as "{example}"',
        )
    if not files and listing.objects:
        return (
            f"{where} holds no media: of {listing.objects:,} other file{'s' if listing.objects > 1 else ''}, "
            "none has the extension of an image or a video",
            _nearest(job, storages, portal, prefix),
        )
    message = f"{where} holds no media: nothing lies there"
    return message, _nearest(job, storages, portal, prefix)


def _nearest(job: Job, storages: Storages, portal: Portal, prefix: str) -> str:
    try:
        if prefix:
            return _below(storages.at(job.input), portal, prefix)
        return _beside(job, storages, portal)
    except MetaferryError as error:  # whoever may list one folder may not be let into the one above it
        log.debug("what is near the input cannot be told: %s", error.message)
        return ""


def _below(storage: Storage, portal: Portal, prefix: str) -> str:
    """The nearest prefix: the first folder of it that is not there, and those that are."""
    above, _, name = prefix.rstrip("/").rpartition("/")
    while True:
        base = above + "/" if above else ""
        folders = _folders(storage, portal, base)
        if folders or not above:
            return _advice("--prefix ", name, [f"{base}{folder}/" for folder in folders])
        above, _, name = above.rpartition("/")


def _beside(job: Job, storages: Storages, portal: Portal) -> str:
    """The nearest input: folders beside the one that holds nothing, or beside the first that is not there."""
    url = job.input.url.rstrip("/")
    while (parts := _parent(url)) is not None:
        url, name = parts
        try:
            folders = _folders(storages.at(Location(url=url, options=job.input.options)), portal, "")
        except NotFound:
            continue
        found = [folder for folder in folders if folder != name and not folder.startswith(".")]
        if found:
            shown = showable(url).rstrip("/")
            return _advice("input: ", name, [f"{shown}/{folder}/" for folder in found])
    return ""


def _parent(url: str) -> tuple[str, str] | None:
    """The folder above, and the name in it; None where a bucket or a root has none above it."""
    scheme, _ = split_scheme(url)
    if scheme in ("http", "https"):
        return None
    head, mark, rest = url.rpartition("://")
    above, slash, name = rest.rpartition("/")
    if not name or (scheme not in _NO_BUCKET and not above):
        return None
    return f"{head}{mark}{above or ('/' if slash and not mark else '' if mark else '.')}", name


def _advice(key: str, wanted: str, urls: list[str]) -> str:
    by_name = {url.rstrip("/").rpartition("/")[2]: url for url in urls}
    near = difflib.get_close_matches(wanted, by_name, _NAMED, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(f"{key}{by_name[name]}" for name in near) + "?"
    more = ", …" if len(urls) > _NAMED else ""
    return f"there are {', '.join(sorted(urls)[:_NAMED])}{more}" if urls else ""


def _folders(storage: Storage, portal: Portal, base: str) -> list[str]:
    """Names of the folders directly below a prefix; of a large one, those of its first entries."""
    level = portal.run(storage.list_level(base))
    if level is not None:
        return [folder[len(base) :].rstrip("/") for folder in level.folders]
    found: dict[str, None] = {}
    seen = 0
    for page in portal.iterate(storage.list(base)):
        for entry in page:
            first, slash, _ = entry.path[len(base) :].partition("/")
            if slash:
                found.setdefault(first)
        seen += len(page)
        if seen >= _ENTRIES:
            break
    return list(found)
