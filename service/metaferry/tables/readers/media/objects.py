"""The reader of `object:`: a row for each image and each video, with what the listing tells of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.errors import JobError
from metaferry.job.readers.object import Object
from metaferry.tables.files.folders import hive_values
from metaferry.tables.model import TableFile, folded
from metaferry.tables.readers.contract import (
    Facts,
    Given,
    Note,
    OfMedia,
    ReaderColumn,
    ReaderRelation,
    Reject,
    Rows,
    Wanted,
)
from metaferry.tables.readers.media.object_notes import Noticed, Spelling
from metaferry.tables.staging import numbers_from, quote_ident

OBJECTS: Final = "objects"
#: The columns of `MediaAccess.objects` that are handed on as they are, in the order of the relation.
_LISTED: Final = ("kind", "size", "modified", "etag", "content_type", "storage_class")

_COLUMNS: Final = (
    ReaderColumn("file_name", pa.string(), "the path below the input"),
    ReaderColumn("kind", pa.string(), "image or video"),
    ReaderColumn("size", pa.int64(), "bytes"),
    ReaderColumn(
        "modified", pa.timestamp("us", "UTC"), "when it was written, by the store's clock", if_named=True
    ),
    ReaderColumn("etag", pa.string(), "the ETag, without quotes", if_named=True),
    ReaderColumn("content_type", pa.string(), "such as video/mp4"),
    ReaderColumn("storage_class", pa.string(), "the storage class, or the access tier on Azure"),
    ReaderColumn("metadata", pa.string(), "the user metadata: texts by name", json=True),
    ReaderColumn("tags", pa.string(), "the tags: texts by name", json=True),
    ReaderColumn("folders", pa.string(), "folders such as cam=07 on its way: texts by name", json=True),
)
#: What takes requests where it is not listed.
_OF_HEADERS: Final = frozenset({"content_type", "metadata"})


class ObjectReader(OfMedia):
    """The objects of the input: see `contract.Reader`."""

    key = "object"
    name = "object"
    title = "the listed media themselves"
    relations: tuple[str, ...] = (OBJECTS,)
    frame_base: Literal[0, 1] = 0

    def open(self, given: Given) -> OpenedObjects:
        """Checks the expression. Raises JobError for one that is none."""
        return OpenedObjects(given)


class OpenedObjects:
    """The media of a job, not listed yet."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._parts = _groups(given)
        self._file = TableFile(given.value.shown, 0, "", 0)
        self._asked: Object = given.value
        self._noticed = Noticed()
        self._spelled = {name: Spelling() for name in ("metadata", "tags", "folders")}

    @property
    def relations(self) -> Sequence[ReaderRelation]:
        parts = tuple(ReaderColumn(name, pa.string(), "of the path, by `parts`") for name in self._parts)
        return (ReaderRelation(OBJECTS, "an image or a video", (*_COLUMNS, *parts), "object"),)

    @property
    def files(self) -> Sequence[TableFile]:
        return (self._file,)

    def needs(self) -> Wanted:
        return {OBJECTS: None}

    def records(self, facts: Facts) -> str:
        return ""

    def example(self, table: str) -> str:
        return f"SELECT file_name, size FROM {quote_ident(table)}.{OBJECTS} WHERE kind = 'image'"

    def read(self, wanted: Wanted, reject: Reject) -> Iterator[Rows]:
        """The media in the order of their paths, numbered from 1."""
        if OBJECTS not in wanted:
            return
        (relation,) = self.relations
        taken = [column.name for column in relation.taken(wanted[OBJECTS])]
        row = 1
        assert self._given.media is not None  # whoever reads a job gives its media
        given = self._given.value
        self._asked = given.model_copy(
            update={
                "headers": given.headers and not _OF_HEADERS.isdisjoint(taken),
                "tags": given.tags and "tags" in taken,
            }
        )
        for batch in self._given.media.objects(self._asked):
            self._given.still_wanted()
            self._noticed.look_at(batch)
            paths = batch.column("path")
            known = [
                paths,
                *(batch.column(name) for name in _LISTED),
                self._spelled["metadata"](batch.column("metadata")),
                self._spelled["tags"](batch.column("tags")),
                self._spelled["folders"](_folders_of(paths)),
                *self._parts_of(paths),
            ]
            whole = pa.RecordBatch.from_arrays(known, schema=relation.schema)
            yield Rows(OBJECTS, numbers_from(row, batch.num_rows), whole.select(taken))
            row += batch.num_rows
        self._file = replace(self._file, rows=row - 1)

    @property
    def notes(self) -> tuple[Note, ...]:
        """What is told of the objects together, once they were read."""
        dropped = sum(each.dropped for each in self._spelled.values())
        return tuple(self._noticed.notes(self._asked, dropped))

    def _parts_of(self, paths: pa.Array) -> list[pa.Array]:
        """The named groups of `parts`, null where it does not match."""
        if not self._parts:
            return []
        found = pc.extract_regex(paths, self._given.value.parts)
        return [pc.struct_field(found, name) for name in self._parts]


def _folders_of(paths: pa.Array) -> pa.Array:
    """What the folders of each path give, as JSON; null where they give nothing."""
    found = [hive_values(path) if "=" in path else {} for path in paths.to_pylist()]
    return pa.array([json.dumps(each, ensure_ascii=False) if each else None for each in found], pa.string())


def _groups(given: Given) -> tuple[str, ...]:
    """The names of the groups of `parts`. Raises JobError for what is no expression, and for names that are
    columns already."""
    if given.value.parts is None:
        return ()
    try:
        names = [field.name for field in pc.extract_regex(pa.array([""]), given.value.parts).type]
    except pa.ArrowInvalid as error:
        why = str(error).splitlines()[0].removeprefix("Invalid regular expression: ")
        raise _bad_parts(given, f"{given.value.parts!r} cannot be used: {why}") from None
    if not names:
        raise _bad_parts(given, f"{given.value.parts!r} has no named group, so it makes no column")
    taken = {folded(column.name) for column in _COLUMNS}
    for name in names:
        if folded(name) in taken:
            raise _bad_parts(given, f"the group {name} would be a second column of that name")
        taken.add(folded(name))
    return tuple(names)


def _bad_parts(given: Given, why: str) -> JobError:
    return given.fault(
        f"parts: {why}",
        advice="write named groups: '^(?P<site>[^/]+)/'; it is RE2, without lookahead and backreferences",
    )
