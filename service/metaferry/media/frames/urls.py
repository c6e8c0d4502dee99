"""Frame counts of whatever videos a URL names: one file, a folder, or a glob, on any storage.

A URL is split into a datasource and a part below it; URLs of one datasource share its workers. It has no
state and no cache, and nothing is written. Parts of a URL are used literally: `*`, `?` and `[` make it a
glob, a `/` at the end makes it a folder, an extension makes it a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from metaferry.errors import NotFound, Unsupported, UsageError
from metaferry.lightly.globs import glob_regex
from metaferry.lightly.names import Kind, media_kind
from metaferry.masking import showable
from metaferry.media.frames.counter import DEADLINE
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import UNKNOWN_SIZE, FrameCount, Level, Progress, Video
from metaferry.media.listing import MediaFilter, media_pages
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from metaferry.urls import NO_CHAIN, NO_CHAIN_ADVICE, is_chained

#: Opens the datasource at a URL. The caller keeps what it opened, and closes it.
StorageFor = Callable[[str], Storage]

_WILDCARDS: Final = frozenset("*?[")


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A URL in two parts: the `root` to open, and a glob or a file's path below it.

    Both are empty for a folder: every video below the root. `certain` is False where only the
    storage shows whether `file` is a file or the last folder of the URL.
    """

    url: str
    root: str
    glob: str = ""
    file: str = ""
    certain: bool = True


def count_urls(
    urls: Sequence[str],
    *,
    storage_for: StorageFor,
    portal: Portal,
    level: Level | None = None,
    times: bool = False,
    workers: int | None = None,
    deadline: float = DEADLINE,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> Iterator[FrameCount]:
    """One `FrameCount` for each video that `urls` name, `path` being its whole URL.

    Of folders and globs the files with a known video extension are counted; a file that is named
    itself is counted whatever it is called, and is `gone` where there is none. A video named twice
    is counted twice. After everything else was counted, `NotFound` is raised for folders and globs
    without any video; otherwise raises what `count_frames` raises.
    """
    if not urls:
        raise UsageError("no URL was given", advice="name a file, a folder or a glob")
    return _count_urls(
        [split_url(url) for url in urls],
        _cached(storage_for),
        portal,
        lambda storage, videos: count_frames(
            storage,
            portal,
            videos,
            level=level,
            times=times,
            workers=workers,
            deadline=deadline,
            command=command,
        ),
        progress,
    )


def split_url(url: str) -> Target:
    """Where the datasource ends and what is meant below it begins. Makes no request.

    `s3://b/day/*.mp4` is `*.mp4` below `s3://b/day`, `s3://b/day/a.mp4` is a file below it;
    `s3://b/day` (no extension) and `s3://b/a.mp4/` are folders, `s3://b/v1.2` may be either.
    Raises UsageError for a chained URL.
    """
    if is_chained(url):
        raise UsageError(f"{showable(url)} {NO_CHAIN}", advice=NO_CHAIN_ADVICE)
    scheme, mark, rest = url.rpartition("://")
    head = f"{scheme}{mark}"
    segments = rest.split("/")
    # With a scheme the first segment is the bucket (or empty: file:///), never part of a pattern.
    first = 1 if mark else 0
    for index in range(first, len(segments)):
        if _WILDCARDS & set(segments[index]):
            glob = "/".join(segments[index:])
            if _is_pattern(glob):
                return Target(url, _root(head, segments[:index]), glob=glob)
            break  # a name that happens to hold a bracket
    name = segments[-1]
    if len(segments) > first and "." in name.strip("."):
        return Target(url, _root(head, segments[:-1]), file=name, certain=media_kind(name) is not None)
    return Target(url, url)


def _is_pattern(glob: str) -> bool:
    try:
        glob_regex(glob)
    except ValueError:
        return False
    return True


def _root(head: str, segments: list[str]) -> str:
    if head:
        return head + "/".join(segments) + ("/" if segments == [""] else "")
    if segments == [""]:
        return "/"
    return "/".join(segments) or "."


def _count_urls(
    targets: list[Target],
    storage_for: StorageFor,
    portal: Portal,
    count: Callable[[Storage, Iterable[Video]], Iterator[FrameCount]],
    progress: Progress | None,
) -> Iterator[FrameCount]:
    groups: dict[str, list[Target]] = {}
    for target in targets:
        if not target.certain and not _is_file(storage_for(target.root), portal, target.file):
            target = Target(target.url, target.url)
        groups.setdefault(target.root, []).append(target)
    empty: list[Target] = []
    for root, members in groups.items():
        storage = storage_for(root)
        for found in count(storage, _videos(storage, portal, members, empty)):
            named = dataclasses.replace(found, path=f"{_prefix(root)}{found.path}")
            if progress is not None:
                progress(named)
            yield named
    if empty:
        names = ", ".join(showable(target.url) for target in empty)
        raise NotFound(f"no video at {names}", advice="in a glob, `**/` looks into folders")


def _videos(storage: Storage, portal: Portal, targets: list[Target], empty: list[Target]) -> Iterator[Video]:
    """The videos of the targets; those without one are added to `empty`."""
    for target in targets:
        if target.file:
            yield target.file, UNKNOWN_SIZE, ""
            continue
        rules = MediaFilter(include=(target.glob,) if target.glob else ())
        some = False
        for page in portal.iterate(media_pages(storage, rules, _literal(target.glob))):
            columns = zip(page.path, page.size, page.token, page.kind, page.included, strict=True)
            for path, size, token, kind, included in columns:
                # A shell hands over names: one with brackets in it also means itself.
                if (included or path == target.glob) and kind is Kind.VIDEO:
                    some = True
                    yield path, size, token
        if not some:
            empty.append(target)


def _is_file(storage: Storage, portal: Portal, path: str) -> bool:
    try:
        portal.run(storage.read(path, 0, 1))
    except (NotFound, Unsupported):  # nothing there, or a folder
        return False
    return True


def _cached(storage_for: StorageFor) -> StorageFor:
    """Opens each root once."""
    opened: dict[str, Storage] = {}

    def storage(root: str) -> Storage:
        if root not in opened:
            opened[root] = storage_for(root)
        return opened[root]

    return storage


def _literal(glob: str) -> str:
    """What every key matching `glob` begins with, to list no more than needed."""
    for index, character in enumerate(glob):
        if character in _WILDCARDS:
            return glob[:index]
    return glob


def _prefix(root: str) -> str:
    if root == ".":
        return ""
    return root if root.endswith("/") else f"{root}/"
