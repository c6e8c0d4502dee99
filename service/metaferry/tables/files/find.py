"""Which files a source is: one object, or those that a glob matches, with format and compression.

Listing and looking go through the storage contract; nothing here reads content. A URL that names
nothing is answered with the nearest names that are there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from metaferry.errors import JobError, NotFound, TableMissing
from metaferry.job.parts import Location
from metaferry.job.tables import TableOptions
from metaferry.lightly.globs import glob_regex, is_glob
from metaferry.masking import showable
from metaferry.storage.io.portal import Portal
from metaferry.storage.listing.checked_pages import listed
from metaferry.storage.protocol import Entry, Storage
from metaferry.tables.files.content import EXTENSIONS, REFUSALS
from metaferry.urls import split_scheme


class NoMatch(TableMissing):
    """A glob that matches nothing, in a place that can be looked into."""


Format = Literal["csv", "tsv", "parquet", "jsonl", "json", "arrow"]
Compression = Literal["", "gzip", "zstd", "zip"]
StorageFor = Callable[[str, Mapping[str, Any]], Storage]

_FORMATS: Final[dict[str, Format]] = {
    "csv": "csv",
    "tsv": "tsv",
    "tab": "tsv",
    "parquet": "parquet",
    "pq": "parquet",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "json",
    "arrow": "arrow",
    "arrows": "arrow",
    "feather": "arrow",
    "ipc": "arrow",
}
_COMPRESSIONS: Final[dict[str, Compression]] = {"gz": "gzip", "zst": "zstd", "zstd": "zstd", "zip": "zip"}
#: Schemes without a bucket, so that every segment after them is part of a path.
_NO_BUCKET: Final = frozenset({"", "file", "local", "memory"})
_THIS_MACHINE: Final = frozenset({"", "file", "local"})
_HTTP: Final = frozenset({"http", "https"})
_NEAREST_AMONG: Final = 5_000
#: What Spark, Hadoop, Databricks and file managers leave beside part files.
_MARKS: Final = re.compile(
    r"(^|/)(_SUCCESS|_metadata|_common_metadata|_(committed|started)_[^/]*|_temporary/.*|\.DS_Store|\._[^/]*"
    r"|[^/]*\.crc)$"
)


@dataclass(frozen=True, slots=True)
class TableObject:
    """One object to be read. `url` is for people; size, token and entry are None where nothing listed it."""

    storage: Storage
    path: str
    url: str
    size: int | None
    token: str | None
    compression: Compression
    listed: Entry | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a source, their one format, and the URLs of what a glob matched and is no table."""

    format: Format
    files: list[TableObject]
    passed_over: list[str]


@dataclass(frozen=True, slots=True)
class Address:
    """A table's URL in two parts: the datasource to open, and a file's path or a glob below it."""

    root: str
    rest: str
    glob: bool


def find_files(
    source: TableOptions, *, place: str, storage_for: StorageFor, portal: Portal, allow_none: bool = False
) -> Found:
    """The files of a source in listing order, and the one format they have.

    Of what a glob matches, empty files and the marks that other programs leave are passed over.

    Raises, with `place` in it, TableMissing for a glob that matches nothing and for a bucket that is
    not there, and JobError for a format that cannot be told and for files of several formats. A
    single file is not looked for here: whoever reads it raises `missing`. With `allow_none` a glob that
    matches nothing yet (in a bucket that is there, or in a local folder, there or not) has no files.
    """
    objects = find_objects(
        source.location, place=place, storage_for=storage_for, portal=portal, allow_none=allow_none
    )
    files, passed_over = objects.files, objects.passed_over
    if not files:
        return Found(source.format or "jsonl", [], passed_over)  # of no file no format needs to be known
    shown = showable(source.location.url)
    formats = {source.format or format_of(file.path, file.url, place): file for file in files}
    if len(formats) > 1:
        first, second = list(formats.values())[:2]
        raise JobError(
            f"{shown} matches files of several formats, such as {first.url} and {second.url}",
            place=place,
            advice="narrow the glob to one format, and make the others a source of their own",
        )
    return Found(next(iter(formats)), files, passed_over)


@dataclass(frozen=True, slots=True)
class FoundObjects:
    """The files of a location, and the URLs of what a glob matched and is no table."""

    files: list[TableObject]
    passed_over: list[str]


def find_objects(
    location: Location, *, place: str, storage_for: StorageFor, portal: Portal, allow_none: bool = False
) -> FoundObjects:
    """The files of a location, whatever their format; as `find_files` tells of them, and raises."""
    shown = showable(location.url)
    address = split_url(location.url, shown, place)
    storage = storage_for(address.root, location.options)
    if address.glob:
        try:
            files = list(_matching(storage, address, shown, place, portal))
        except NoMatch:
            if not allow_none:
                raise
            files = []
    else:
        files = [TableObject(storage, address.rest, shown, None, None, compression_of(address.rest))]
    passed_over = [file.url for file in files if address.glob and _is_no_table(file)]
    return FoundObjects([file for file in files if file.url not in set(passed_over)], passed_over)


def _is_no_table(file: TableObject) -> bool:
    return file.size == 0 or _MARKS.search(file.path) is not None


def split_url(url: str, shown: str, place: str) -> Address:
    """Where the datasource ends: before the first segment with a wildcard, or before the file's name."""
    scheme, _ = split_scheme(url)
    head, mark, rest = url.rpartition("://")
    head += mark
    query = ""
    if scheme in _HTTP:  # a `?` begins a query there, and such stores are not listed
        rest, query_mark, query = rest.partition("?")
        query = query_mark + query
    segments = rest.split("/")
    first = 0 if scheme in _NO_BUCKET else 1
    globs = [] if scheme in _HTTP else [n for n, segment in enumerate(segments) if is_glob(segment)]
    if globs and globs[0] < first:
        raise JobError(f"{shown}: a bucket cannot be a glob", place=place, advice="name the bucket")
    cut = globs[0] if globs else len(segments) - 1
    if len(segments) <= first or not segments[-1]:
        raise JobError(
            f"{shown} names a folder, not a table",
            place=place,
            advice=f"write a glob such as {shown.rstrip('/')}/*.parquet",
        )
    return Address(_root(head, segments[:cut]), "/".join(segments[cut:]) + query, bool(globs))


def format_of(path: str, shown: str, place: str) -> Format:
    """The format that a file's extension tells, in any letter case."""
    extension = _extension(path)
    known = _FORMATS.get(extension)
    other = REFUSALS.get(EXTENSIONS.get(extension, ""))
    if other is not None:
        raise JobError(f"{shown} is {other.called} by its name", place=place, advice=other.advice)
    if known is None:
        raise JobError(
            f"{shown}: the format of the table cannot be told from its name",
            place=place,
            advice="set format: csv, tsv, parquet, arrow, jsonl (one JSON object in each line) or json",
        )
    return known


def compression_of(path: str) -> Compression:
    extensions = _extensions(path)
    return _COMPRESSIONS.get(extensions[-1], "") if extensions else ""


def missing(file: TableObject, place: str, portal: Portal, error: NotFound) -> JobError | TableMissing:
    """The error for a file that is not there, with the nearest names of its folder.

    A file on this machine that the job names is a fault of the job. Everything else may be on its way,
    or was taken away since it was listed.
    """
    named_here = file.token is None and split_scheme(file.url)[0] in _THIS_MACHINE
    kind = JobError if named_here else TableMissing
    if not error.path:
        return kind(error.message, place=place, advice=error.advice)  # it names the bucket or folder
    folder = file.path.rpartition("/")[0]
    return kind(
        f"there is no file {file.url}",
        place=place,
        advice=_nearest(file.storage, folder + "/" if folder else "", file.path, portal, file.url),
    )


def _matching(
    storage: Storage, address: Address, shown: str, place: str, portal: Portal
) -> Iterable[TableObject]:
    try:
        matches = re.compile(glob_regex(address.rest)).fullmatch
    except ValueError as error:
        raise JobError(f"{shown} is no glob: {error}", place=place) from None
    literal = re.split(r"[*?\[]", address.rest, maxsplit=1)[0]
    base = showable(address.root).rstrip("/")

    def wanted(entry: Entry) -> bool:
        # A file whose name holds brackets may be meant as itself.
        return bool(matches(entry.path)) or entry.path == address.rest

    try:
        found = portal.run(listed(storage, literal, wanted))
    except NotFound as error:
        # A folder of a disk comes with its first file; a bucket does not.
        kind = NoMatch if split_scheme(address.root)[0] in _NO_BUCKET else TableMissing
        raise kind(error.message, place=place, advice=error.advice) from error
    for entry in found:
        url = f"{base}/{entry.path}" if address.root != "." else entry.path
        yield TableObject(
            storage, entry.path, url, entry.size, entry.token, compression_of(entry.path), entry
        )
    if not found:
        raise NoMatch(
            f"no file matches {shown}", place=place, advice=_nearest(storage, "", address.rest, portal)
        )


def _nearest(storage: Storage, prefix: str, wanted: str, portal: Portal, shown: str = "") -> str:
    """The advice for a path that is not there; `shown` is what people may see of it."""
    names: list[str] = []
    try:
        for page in portal.iterate(storage.list(prefix)):
            names.extend(entry.path for entry in page)
            if len(names) >= _NEAREST_AMONG:
                break
    except NotFound:
        return "its folder does not exist either"
    if not names:
        return "its folder holds no files"
    below = [name for name in names if name.startswith(f"{wanted}/") and _extension(name) in _FORMATS]
    if below:
        deep = "**/" if any("/" in name.removeprefix(f"{wanted}/") for name in below) else ""
        ending = below[0].rpartition("/")[2].partition(".")[2]
        return f"it is a folder; write a glob such as {shown or wanted}/{deep}*.{ending}"
    near = difflib.get_close_matches(wanted, names, 3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"there are files such as {', '.join(names[:3])}"


def _extension(path: str) -> str:
    """The last of a path's extensions that is none of a compression; "" where it has none."""
    extensions = _extensions(path)
    if extensions and extensions[-1] in _COMPRESSIONS:
        extensions.pop()
    return extensions[-1] if extensions else ""


def _extensions(path: str) -> list[str]:
    name = path.partition("?")[0].rpartition("/")[2]
    return name.lower().split(".")[1:]


def _root(head: str, segments: list[str]) -> str:
    if head:
        return head + "/".join(segments) + ("/" if segments == [""] else "")
    if segments == [""]:
        return "/"
    return "/".join(segments) or "."
