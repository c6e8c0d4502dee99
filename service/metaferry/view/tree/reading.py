"""A tree as it is listed and read: the media and documents of a job, or of the datasource at a URL.

Listings go into the tables `media` and `tree_documents` of the planning engine; documents are read one by
one, in parallel and in the order of their names. Nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from metaferry.errors import NotFound, StorageError
from metaferry.job.model import Job
from metaferry.lightly import schema as rules
from metaferry.lightly.document import document as canonical
from metaferry.lightly.key_paths import split_path
from metaferry.lightly.names import SCHEMA, Kind, hostile
from metaferry.lightly.nested import EntryTypes
from metaferry.planning.database import Database
from metaferry.planning.existing import LARGEST
from metaferry.planning.listings import Listings
from metaferry.progress import Progress
from metaferry.runs.context import open_job
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.in_place import read_in_place
from metaferry.runs.listings.lister import Lister
from metaferry.runs.state.folder import State
from metaferry.runs.storages import Storages
from metaferry.storage.protocol import Storage
from metaferry.view.tree.document import Fault, read_document
from metaferry.view.tree.frames import (
    IS_BEYOND,
    IS_MISNAMED,
    MISNAMED,
    RIGHT_NAME,
    count_frames_of_documents,
)
from metaferry.view.tree.names import classify, names_of
from metaferry.view.tree.target import Target, job_of


@dataclass(frozen=True, slots=True)
class Tree:
    """An opened tree, listed. `entries` are those of its schema.json, None where there is none.

    `job` is the one that was given, or one of the URL without sources. `excluded` counts documents of media
    that the job does not take in, `misnamed` those of frames whose number has too many or too few digits.
    """

    job: Job
    storages: Storages
    database: Database
    lightly: Storage
    entries: tuple[rules.Entry, ...] | None
    documents: int
    excluded: int
    misnamed: int = 0


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
    #: Of a frame, under a number of digits that no reader looks for.
    misnamed: bool = False
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
    target: Target,
    *,
    overrides: Sequence[str],
    progress: Progress,
    deps: RuntimeDeps,
) -> Iterator[Tree]:
    """Opens and lists a tree for one block. Raises JobError, UsageError, SchemaError and StorageError."""
    job = job_of(target, overrides)
    with open_job(job, deps) as (storages, database):
        list_tree(job, storages, database, deps, progress)
        yield tree_of(job, storages, database, progress)


def tree_of(
    job: Job, storages: Storages, database: Database, progress: Progress, *, planned: bool = False
) -> Tree:
    """The tree of a datasource that is listed in the tables `media` and `documents`.

    `planned`: the tables of a plan are there as well. What a sync would keep is then not read, since the plan
    has proved its bytes and has them.
    """
    portal, lightly = storages.portal, storages.at(job.lightly_location)
    entries = None
    with suppress(NotFound):
        text = portal.run(lightly.read(SCHEMA)).data
        entries = rules.parse_schema(text, where=f"{lightly.url.rstrip('/')}/{SCHEMA}")
    classify(database)
    place, state = storages.at(job.input), state_of(job, storages)
    count_frames_of_documents(database, place, state, portal, progress, planned=planned)
    database.run("ALTER TABLE tree_documents ADD COLUMN misnamed BOOLEAN DEFAULT false")
    database.run("ALTER TABLE tree_documents ADD COLUMN kept BOOLEAN DEFAULT false")
    database.run(
        f"UPDATE tree_documents AS t SET misnamed = {IS_MISNAMED}, "
        f"file_name = CASE WHEN {IS_BEYOND} THEN NULL ELSE t.file_name END "
        f"FROM tree_frames f WHERE f.media = t.media AND ({IS_MISNAMED} OR {IS_BEYOND})"
    )
    if planned:
        database.run(
            "UPDATE tree_documents SET kept = true WHERE target IN "
            "(SELECT target FROM decided WHERE action = 'keep')"
        )
    documents, excluded, misnamed = database.row(
        "SELECT count(*) FILTER (included), count(*) FILTER (NOT included), "
        "count(*) FILTER (included AND misnamed) FROM tree_documents"
    )
    return Tree(job, storages, database, lightly, entries, documents, excluded, misnamed)


def state_of(job: Job, storages: Storages) -> State:
    """The state folder, to be read: none is made."""
    if job.state is None:
        return State.of(job, storages, storages.portal)
    return State(storages.at(job.state), storages.portal)


def misnamed_documents(tree: Tree, most: int) -> list[tuple[str, str]]:
    """Documents of frames under a number of digits that no reader looks for, and what is wrong with each."""
    return [
        (target, message)
        for target, message in tree.database.rows(
            f"SELECT t.target, {MISNAMED} || '; its right name is ' || {RIGHT_NAME} FROM tree_documents t "
            f"JOIN tree_frames f ON f.media = t.media WHERE t.included AND {IS_MISNAMED} "
            f"ORDER BY t.target LIMIT {most}"
        )
    ]


def list_tree(
    job: Job, storages: Storages, database: Database, deps: RuntimeDeps, progress: Progress
) -> None:
    """The tables `media` and `documents` of the whole datasource, as a run lists it."""
    listings = Listings(database)
    lister = Lister(job, storages, storages.portal, database.scratch, "", deps.now(), None, progress)
    listings.finish(inventory=lister.fill(listings).inventory)


def read_documents(tree: Tree, progress: Progress, seen: Seen, *, forms: bool) -> Iterator[Document]:
    """Every document of the tree, as it was read; those that went away since the listing are left out.

    `forms`: whether each is compared with what a sync would write for it.
    """
    types = EntryTypes({split_path(entry.path): entry.type for entry in tree.entries or ()})
    for kept, body in _kept(tree.database):
        found = _document(kept, body, types, forms)
        seen.note(found)
        yield found
    left: int = tree.database.value("SELECT count(*) FROM tree_documents WHERE included AND NOT kept")
    progress.phase("Reading documents", left)
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


class _Named(NamedTuple):
    """A document as it is listed, and what its name says; `file_name` None: nothing that is there."""

    target: str
    size: int
    kind: str | None
    media: str | None
    frame: int | None
    file_name: str | None
    shared: list[dict[str, str]] | None
    misnamed: bool


def _document(name: _Named, data: bytes | StorageError, types: EntryTypes, forms: bool) -> Document:
    if isinstance(data, StorageError):
        return _invalid(name, Fault(0, 0, f"it cannot be read: {data.message}"))
    names = names_of(name.kind, None if name.misnamed else name.file_name, name.shared)
    metadata, fault = read_document(data, names=names, types=types)
    if fault is not None:
        return _invalid(name, fault)
    if name.shared and (own := json.loads(data).get("file_name")) is not None:
        kind = next(each.kind for each in names if each.file_name == own)
        name = name._replace(kind=kind, media=own, file_name=own)
    media, same, orphan = name.media, True, name.file_name is None
    if media is None:  # its own word is all there is
        own = json.loads(data).get("file_name")
        media = own if isinstance(own, str) and hostile(own) is None else ""
    elif forms and name.file_name is not None:
        same = canonical(name.file_name, Kind(name.kind or ""), metadata) == data
    return Document(
        name.target,
        name.kind or "",
        media,
        name.frame,
        orphan,
        metadata,
        len(data),
        misnamed=name.misnamed,
        canonical=same,
    )


def _invalid(name: _Named, fault: Fault) -> Document:
    orphan = name.file_name is None
    return Document(name.target, name.kind or "", name.media or "", name.frame, orphan, {}, 0, fault)


_NAMES: Final = "target, size, kind, media, frame, file_name, shared, misnamed"


def _kept(database: Database) -> Iterator[tuple[_Named, bytes]]:
    """The documents that a plan keeps, with the bytes that it has of them."""
    if not database.value("SELECT count(*) FROM tree_documents WHERE included AND kept"):
        return
    names = ", ".join(f"t.{name}" for name in _NAMES.split(", "))
    database.run(
        f"CREATE TABLE tree_kept AS SELECT row_number() OVER () AS n, {names}, w.body "
        "FROM tree_documents t JOIN wanted w ON w.target = t.target WHERE t.included AND t.kept"
    )
    for *row, body in database.numbered(f"{_NAMES}, body", "tree_kept"):
        yield _Named(*row), body.encode()
    database.run("DROP TABLE tree_kept")


def _rows(database: Database, named: dict[str, _Named]) -> Iterator[tuple[str, int]]:
    """Target and size of each document that is read; what its name says of it goes to `named`."""
    for included, *row in database.numbered(f"included AND NOT kept, {_NAMES}", "tree_documents"):
        name = _Named(*row)
        if included and name.size <= LARGEST:
            named[name.target] = name
            yield name.target, name.size


def _too_large(database: Database) -> Iterator[_Named]:
    """Documents that nobody reads; a tree has hardly any."""
    rows = database.rows(
        f"SELECT {_NAMES} FROM tree_documents WHERE included AND NOT kept AND size > {LARGEST} ORDER BY n"
    )
    return (_Named(*row) for row in rows)
