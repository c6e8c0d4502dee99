"""The reader of `media_facts:`: what the headers of images and videos tell, a row each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.findings import Code
from metaferry.media.facts.images.reader import IMAGES
from metaferry.media.facts.model import TEXT, FactsKind
from metaferry.media.facts.rows import AT, PROBLEM, REASON
from metaferry.media.facts.videos.reader import VIDEOS
from metaferry.tables.model import TableFile
from metaferry.tables.readers.contract import (
    BATCH_ROWS,
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
from metaferry.tables.staging import quote_ident

#: The relations, and the kind of media in each.
_KINDS: Final[Mapping[str, FactsKind]] = {"images": IMAGES, "videos": VIDEOS}
_FILE_NAME: Final = ReaderColumn("file_name", TEXT, "the path below the input")
_PROBLEM: Final = ReaderColumn(
    PROBLEM, TEXT, "what is damaged in it, so that facts may be missing; else null"
)

#: The key paths of records, and the fact that each is. Sizes are those that `as_shown` asks for.
_KEYS: Final[Mapping[str, str]] = {
    "width": "width",
    "height": "height",
    "orientation": "orientation",
    "rotation": "rotation",
    "format": "format",
    "codec": "codec",
    "fps": "fps",
    "duration": "duration",
    "taken": "taken",
    "taken_utc": "taken_utc",
    "camera.make": "make",
    "camera.model": "model",
    "camera.lens": "lens",
    "exposure.time": "exposure_time",
    "exposure.f_number": "f_number",
    "exposure.iso": "iso",
    "exposure.focal_length": "focal_length",
    "gps.lat": "lat",
    "gps.lon": "lon",
    "gps.altitude": "altitude",
}
_SHOWN: Final = {"width": "shown_width", "height": "shown_height"}
#: Keys that say how the stored pixels are turned.
_TURNS: Final = frozenset({"orientation", "rotation"})


class MediaFactsReader(OfMedia):
    """The headers of the media: see `contract.Reader`."""

    key = "media_facts"
    name = "media_facts"
    title = "what images and videos tell of themselves"
    relations: tuple[str, ...] = tuple(_KINDS)
    frame_base: Literal[0, 1] = 0

    def open(self, given: Given) -> OpenedFacts:
        """Reads nothing yet."""
        return OpenedFacts(given)


class OpenedFacts:
    """The media of a job, whose headers are not read yet."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._file = TableFile(given.value.shown, 0, "", 0)

    @property
    def relations(self) -> Sequence[ReaderRelation]:
        return tuple(
            ReaderRelation(
                name,
                f"{'an image' if kind is IMAGES else 'a video'} whose headers could be read",
                (
                    _FILE_NAME,
                    *(ReaderColumn(fact.name, fact.type, fact.meaning) for fact in kind.facts),
                    _PROBLEM,
                ),
                "file",
            )
            for name, kind in _KINDS.items()
        )

    @property
    def files(self) -> Sequence[TableFile]:
        return (self._file,)

    def needs(self) -> Wanted:
        return {name: None for name, kind in _KINDS.items() if kind.name in self._given.value.kinds}

    def records(self, facts: Facts) -> str:
        """A key path for each fact that any file tells: the others would be nothing but defaults."""
        asked = [name for name in self.needs() if name in _KINDS]
        selected = {name: self._keys(name, facts) for name in asked}
        paths = [path for path in _KEYS if any(path in keys for keys in selected.values())]
        parts = []
        for name in asked:
            keys = selected[name]
            listed = ["file_name"]
            for path in paths:
                value = keys.get(path, "NULL")
                listed.append(f"{value} AS {quote_ident(path)}")
            parts.append(f"SELECT {', '.join(listed)} FROM {name}")
        return "\nUNION ALL ".join(parts)

    def _keys(self, relation: str, facts: Facts) -> dict[str, str]:
        """The column of each key path that has a value in any row."""
        columns = set(facts.columns(relation))
        named: dict[str, str] = {}
        for path, column in _KEYS.items():
            if self._given.value.as_shown:
                if path in _TURNS:
                    continue
                column = _SHOWN.get(path, column)
            if column in columns:
                named[path] = column
        counted = ", ".join(f"count({quote_ident(column)})" for column in named.values())
        (counts,) = facts.rows(f"SELECT {counted} FROM {relation}")
        return {path: column for (path, column), count in zip(named.items(), counts, strict=True) if count}

    def example(self, table: str) -> str:
        return (
            "SELECT file_name, width, height, taken, lat, lon\n"
            f"FROM {quote_ident(table)}.images WHERE width >= 1280"
        )

    def read(self, wanted: Wanted, reject: Reject) -> Iterator[Rows]:
        """The media of each kind in the order of their paths, numbered from 1."""
        media, count = self._given.media, 0
        assert media is not None  # whoever reads a job gives its media
        for relation in self.relations:
            if relation.name not in wanted:
                continue
            taken = [column.name for column in relation.taken(wanted[relation.name])]
            for table in media.facts(_KINDS[relation.name]):
                self._given.still_wanted()
                count += table.num_rows
                yield from _rows(relation, taken, table, reject)
        self._file = replace(self._file, rows=count)


def _rows(relation: ReaderRelation, taken: list[str], table: pa.Table, reject: Reject) -> Iterator[Rows]:
    """One batch: the files that could be read, and a reject for each that could not."""
    readable = pc.is_null(table.column(REASON))
    for row in table.filter(pc.invert(readable)).select([AT, "path", REASON]).sort_by(AT).to_pylist():
        reject(
            relation.name,
            row[AT] + 1,
            f"{row['path']}: {row[REASON]}",
            value=row["path"],
            expected="a file whose headers can be read",
            code=Code.MEDIA_UNREADABLE,
        )
    known = table.filter(readable).sort_by(AT)
    damaged: list[dict[str, Any]] = (
        known.filter(pc.is_valid(known.column(PROBLEM))).select([AT, "path", PROBLEM]).to_pylist()
    )
    notes = tuple(
        Note(
            Code.MEDIA_DAMAGED,
            "warning",
            f"{row['path']}: {row[PROBLEM]}",
            "replace the file, where facts are missing that matter",
            place=row[AT] + 1,
            media=row["path"],
        )
        for row in damaged
    )
    renamed = known.rename_columns(
        [_FILE_NAME.name if name == "path" else name for name in known.column_names]
    )
    for batch in renamed.combine_chunks().to_batches(BATCH_ROWS):
        yield Rows(relation.name, pc.add(batch.column(AT), 1), batch.select(taken), notes=notes)
        notes = ()
