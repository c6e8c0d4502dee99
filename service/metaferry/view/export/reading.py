"""A tree as it is listed and read: the media and documents of a job, or of the datasource at a URL.

Listings go into the tables `media` and `tree_documents` of the planning engine; documents are read one by
one, in parallel and in the order of their names. Nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any, Final, NamedTuple

from metaferry.errors import NotFound, StorageError
from metaferry.job.loader import storage_of
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.lightly import schema as rules
from metaferry.lightly.document import document as canonical
from metaferry.lightly.key_paths import split_path
from metaferry.lightly.names import DOCUMENTS, SCHEMA, Kind, hostile
from metaferry.lightly.nested import Steps
from metaferry.planning.database import Database
from metaferry.planning.listings import Listings
from metaferry.planning.sql import rules as sql
from metaferry.progress import Progress
from metaferry.runs.context import open_job
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.in_place import read_in_place
from metaferry.runs.listings.lister import Lister
from metaferry.runs.storages import Storages
from metaferry.storage.local.disk_names import absolute
from metaferry.storage.protocol import Storage
from metaferry.view.export.documents import Fault, read_document

#: What the name of a job file ends with; anything else is a URL.
_JOB: Final = (".yaml", ".yml", ".json")
#: Bytes of a document beyond which it is not read.
LARGEST: Final = 32_000_000
#: Rows of the listing that are in memory at once.
_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Tree:
    """An opened tree, listed. `entries` are those of its schema.json, None where there is none.

    `job` is the one that was given, or one of the URL without sources. `excluded` counts documents of media
    that the job does not take in.
    """

    job: Job
    storages: Storages
    database: Database
    lightly: Storage
    entries: tuple[rules.Entry, ...] | None
    documents: int
    excluded: int


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it was read. `media` is "" where nothing says what it is of, and it is an orphan."""

    target: str
    kind: str
    media: str
    frame: int | None
    orphan: bool
    metadata: dict[str, Any]
    size: int
    fault: Fault | None = None
    #: Whether its bytes are those that a sync would write for its metadata.
    canonical: bool = True

    @property
    def invalid(self) -> bool:
        return self.fault is not None


@dataclass(slots=True)
class Seen:
    """What was met on the way: invalid documents, the first of them by name, and those in another form."""

    most: int
    invalid: int = 0
    foreign: int = 0
    named: list[tuple[str, Fault]] = field(default_factory=list)

    def note(self, document: Document) -> None:
        if document.fault is not None:
            self.invalid += 1
            if len(self.named) < self.most:
                self.named.append((document.target, document.fault))
        elif not document.canonical:
            self.foreign += 1


@contextmanager
def open_tree(
    target: Job | str | PathLike[str],
    *,
    overrides: Sequence[str],
    progress: Progress,
    deps: RuntimeDeps,
) -> Iterator[Tree]:
    """Opens and lists a tree for one block. Raises JobError, UsageError, SchemaError and StorageError."""
    job = job_of(target, overrides)
    with open_job(job, deps) as (storages, database):
        portal, lightly = storages.portal, storages.at(job.lightly_location)
        listings = Listings(database)
        lister = Lister(job, storages, portal, database.scratch, "", deps.now(), None, progress)
        listed = lister.fill(listings)
        listings.finish(inventory=listed.inventory)
        entries = None
        with suppress(NotFound):
            text = portal.run(lightly.read(SCHEMA)).data
            entries = rules.parse_schema(text, where=f"{lightly.url.rstrip('/')}/{SCHEMA}")
        classify(database)
        documents, excluded = database.row(
            "SELECT count(*) FILTER (included), count(*) FILTER (NOT included) FROM tree_documents"
        )
        yield Tree(job, storages, database, lightly, entries, documents, excluded)


def read_documents(tree: Tree, progress: Progress, seen: Seen, *, forms: bool) -> Iterator[Document]:
    """Every document of the tree, as it was read; those that went away since the listing are left out.

    `forms`: whether each is compared with what a sync would write for it.
    """
    progress.phase("Reading documents", tree.documents)
    types = {split_path(entry.path): entry.type for entry in tree.entries or ()}
    named: dict[str, _Named] = {}
    rows = _rows(tree.database, named)
    for target, data in read_in_place(tree.lightly, tree.storages.portal, rows, progress):
        name = named.pop(target)
        if data is not None:
            found = _document(name, data, types, forms)
            seen.note(found)
            yield found
    for name in _too_large(tree.database):
        fault = Fault(0, 0, f"too large to be read: {name.size:,} bytes")
        found = _invalid(name, fault)
        seen.note(found)
        yield found


def job_of(target: Job | str | PathLike[str], overrides: Sequence[str]) -> Job:
    """A job, or what stands for one without sources: a URL's datasource, with the options of `overrides`."""
    if isinstance(target, Job):
        return target
    name = fspath(target)
    if name.lower().endswith(_JOB):
        return Job.load(name, overrides)
    url = name if "://" in name or "::" in name else absolute(name)
    for below in (DOCUMENTS.rstrip("/"), DOCUMENTS.partition("/")[0]):
        url = url.rstrip("/").removesuffix(f"/{below}")
    location = Location.named(url)
    return Job.model_construct(
        {"input", "storage"}, input=location, storage=storage_of(overrides), sources=()
    )


def classify(database: Database) -> None:
    """Table `tree_documents`: what each document is of by its name; `file_name` is null for orphans.
    `digits` are those of the frame number in its name.

    The document of a media of that stem comes before the frame of a video that could be named so.
    """
    video, index, digits = sql.parse_frame("d.target")
    frame_name = sql.frame_file_name("v.path", "f.frame", "f.digits")
    database.run(
        f"""
        CREATE OR REPLACE TABLE tree_documents AS
        SELECT row_number() OVER (ORDER BY target) - 1 AS n, * FROM (
            SELECT f.target, f.size,
                   CASE WHEN m.target IS NOT NULL THEN m.kind
                        WHEN f.video IS NOT NULL THEN '{Kind.FRAME}' END AS kind,
                   coalesce(m.path, f.video) AS media,
                   CASE WHEN m.target IS NULL THEN f.frame END AS frame,
                   CASE WHEN m.target IS NULL THEN f.digits END AS digits,
                   CASE WHEN m.target IS NOT NULL THEN m.path
                        WHEN v.path IS NOT NULL THEN {frame_name} END AS file_name,
                   coalesce(m.included, v.included, true) AS included
            FROM (
                SELECT d.target, d.size, {video} AS video, {index} AS frame, {digits} AS digits
                FROM documents d WHERE ends_with(d.target, '.json')
            ) f
            LEFT JOIN (
                SELECT target, min(path) AS path, arg_min(kind, path) AS kind,
                       arg_min(included OR refused, path) AS included
                FROM media GROUP BY target
            ) m ON m.target = f.target
            LEFT JOIN (SELECT path, included OR refused AS included FROM media WHERE kind = '{Kind.VIDEO}') v
            ON m.target IS NULL AND v.path = f.video
        )
        """
    )


class _Named(NamedTuple):
    """A document as it is listed, and what its name says; `file_name` None: nothing that is there."""

    target: str
    size: int
    kind: str | None
    media: str | None
    frame: int | None
    file_name: str | None


def _document(
    name: _Named, data: bytes | StorageError, types: Mapping[Steps, rules.ValueType], forms: bool
) -> Document:
    if isinstance(data, StorageError):
        return _invalid(name, Fault(0, 0, f"it cannot be read: {data.message}"))
    metadata, fault = read_document(data, file_name=name.file_name, kind=name.kind, types=types)
    if fault is not None:
        return _invalid(name, fault)
    media, same, orphan = name.media, True, name.file_name is None
    if media is None:  # its own word is all there is
        own = json.loads(data).get("file_name")
        media = own if isinstance(own, str) and hostile(own) is None else ""
    elif forms and name.file_name is not None:
        same = canonical(name.file_name, Kind(name.kind or ""), metadata) == data
    return Document(
        name.target, name.kind or "", media, name.frame, orphan, metadata, len(data), canonical=same
    )


def _invalid(name: _Named, fault: Fault) -> Document:
    orphan = name.file_name is None
    return Document(name.target, name.kind or "", name.media or "", name.frame, orphan, {}, 0, fault)


_NAMES: Final = "SELECT target, size, kind, media, frame, file_name FROM tree_documents WHERE included"


def _rows(database: Database, named: dict[str, _Named]) -> Iterator[tuple[str, int]]:
    """Target and size of each document that is read; what its name says of it goes to `named`."""
    last: int = database.value("SELECT count(*) FROM tree_documents")
    for start in range(0, last, _ROWS):
        for row in database.rows(
            f"{_NAMES} AND n >= {start} AND n < {start + _ROWS} AND size <= {LARGEST} ORDER BY n"
        ):
            name = _Named(*row)
            named[name.target] = name
            yield name.target, name.size


def _too_large(database: Database) -> Iterator[_Named]:
    """Documents that nobody reads; a tree has hardly any."""
    return (_Named(*row) for row in database.rows(f"{_NAMES} AND size > {LARGEST} ORDER BY n"))
