"""Listings into the planning engine: the tables `media` and `documents`.

Pages arrive as they were listed; rows are handed over in batches. The meaning of a name is decided by the
rules of `lightly/names.py` as SQL, once for the whole table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.lightly.names import DOCUMENTS, SCHEMA
from metaferry.media.listing import MediaPage
from metaferry.media.object_facts.listed import LISTED, listed_columns
from metaferry.planning.database import BATCH_ROWS, Database
from metaferry.planning.formats import MediaCounts
from metaferry.planning.sql import rules as sql
from metaferry.storage.facts.model import NO_FACTS
from metaferry.storage.protocol import Entry

_MEDIA: Final = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("token", pa.string()),
        ("kind", pa.string()),
        ("included", pa.bool_()),
    ]
)
_MEDIA_FACTS: Final = LISTED.insert(0, pa.field("path", pa.string()))
_DOCUMENTS: Final = pa.schema(
    [("target", pa.string()), ("size", pa.int64()), ("token", pa.string()), ("md5", pa.string())]
)

_HOSTILE: Final = sql.hostile_reason("path")
#: A row of `media` from a listed one.
_SELECT: Final = (
    f"path, size, token, kind, included AND {_HOSTILE} IS NULL, {sql.document_path('path')}, "
    f"included AND {_HOSTILE} IS NOT NULL"
)


class Listings:
    """Collects pages into the tables that the other steps read, complete after `finish`.

    `media(path, size, token, kind, included, target, refused)`: every media file outside the
    reserved folders. One whose name no document can have is refused and not included, but known,
    so that what lies under its name is no orphan. `documents(target, size, token, md5)`: every object below
    `.lightly/metadata/` but `schema.json`, whose entry is kept in `schema`. With `facts` also
    `media_facts(path, …)`, with the columns of `media/object_facts/listed.py`.
    """

    def __init__(self, database: Database, *, facts: bool = False) -> None:
        self._database = database
        self._with_facts = facts
        self._media: list[MediaPage] = []
        self._media_rows = 0
        self._documents: list[Entry] = []
        self.schema: Entry | None = None
        self.from_inventory = False
        self.restart()

    def restart(self) -> None:
        """Drops what was added: it is all added again."""
        self._media, self._media_rows, self._documents, self.schema = [], 0, [], None
        self.from_inventory = False
        for table in ("documents", "media", "media_facts"):
            self._database.run(f"DROP TABLE IF EXISTS {table}")
        if self._with_facts:
            self._database.create_like("media_facts", _MEDIA_FACTS)
        self._database.create_like("documents", _DOCUMENTS)
        self._database.create_like(
            "media", _MEDIA.append(pa.field("target", pa.string())).append(pa.field("refused", pa.bool_()))
        )

    def add_media(self, page: MediaPage) -> None:
        self._media.append(page)
        self._media_rows += len(page)
        if self._media_rows >= BATCH_ROWS:
            self._flush_media()

    def add_documents(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.path == SCHEMA:
                self.schema = entry
            else:
                self._documents.append(entry)
        if len(self._documents) >= BATCH_ROWS:
            self._flush_documents()

    def contradiction(self) -> str:
        """How the listing contradicts itself; "" where it does not.

        One key is one object, and either all entries have versions or none. Media from an inventory are
        no listing, and are checked in `finish`.
        """
        self._flush_media()
        self._flush_documents()
        for table, column in (("media", "path"), ("documents", "target")):
            if table == "media" and self.from_inventory:
                continue
            twice = self._twice(table, column)
            if twice:
                return f'"{twice}" is named more than once'
            without, all_of_them = self._database.row(
                f"SELECT count(*) FILTER (token = ''), count(*) FROM {table}"
            )
            if 0 < without < all_of_them:
                return "some entries have a version and some have none"
        return ""

    def finish(self, *, inventory: str = "") -> MediaCounts:
        """Hands over what is left, names hostile files in the findings, and counts what is included.

        `inventory` is the report that the media come from, where they do: one that names an object
        twice is a JobError.
        """
        self._flush_media()
        self._flush_documents()
        if inventory:
            self._require_once(inventory)
        self._database.run(
            f"""
            INSERT INTO findings
            SELECT '{Code.NAME_HOSTILE}', 'warning',
                   'this media file cannot have a document: its name has ' || {_HOSTILE},
                   'rename the file, or take it out with media.exclude', '', '', NULL, path, ''
            FROM media WHERE refused
            """
        )
        images, videos, excluded, refused = self._database.row(
            """
            SELECT count(*) FILTER (included AND kind = 'image'),
                   count(*) FILTER (included AND kind = 'video'),
                   count(*) FILTER (NOT included AND NOT refused),
                   count(*) FILTER (refused)
            FROM media
            """
        )
        return MediaCounts(images=images, videos=videos, excluded=excluded, refused=refused)

    def _twice(self, table: str, column: str) -> str | None:
        """A name that comes more than once. By hashes first: a third of the time and memory."""
        hashes = f"SELECT hash({column}) AS h FROM {table}"
        suspects = f"SELECT h FROM ({hashes}) GROUP BY h HAVING count(*) > 1 LIMIT 1000"
        found = self._database.rows(
            f"SELECT {column} FROM {table} WHERE hash({column}) IN ({suspects}) "
            f"GROUP BY {column} HAVING count(*) > 1 ORDER BY {column} LIMIT 1"
        )
        return str(found[0][0]) if found else None

    def _require_once(self, inventory: str) -> None:
        twice = self._twice("media", "path")
        if twice:
            raise JobError(
                f"{inventory} names {twice} more than once, so the current version is not known",
                place="media.inventory",
                advice="let the report list current versions only, or add the fields that tell them apart "
                "(IsLatest and IsDeleteMarker; timeDeleted; IsCurrentVersion and Snapshot)",
            )

    def _flush_media(self) -> None:
        pages, self._media, self._media_rows = self._media, [], 0
        if not pages:
            return
        columns = [
            pa.chunked_array([_array(getattr(page, field.name), field.type) for page in pages])
            for field in _MEDIA
        ]
        self._database.insert("media", pa.Table.from_arrays(columns, schema=_MEDIA), select=_SELECT)
        if self._with_facts:
            for page in pages:
                facts = page.facts if page.facts is not None else [NO_FACTS] * len(page)
                found = [_array(page.path, pa.string()), *listed_columns(page.mtime, facts)]
                self._database.insert("media_facts", pa.Table.from_arrays(found, schema=_MEDIA_FACTS))

    def _flush_documents(self) -> None:
        entries, self._documents = self._documents, []
        if not entries:
            return
        paths, sizes, tokens, md5s, _ = zip(*entries, strict=True)
        found = (paths, sizes, tokens, md5s)
        columns = [_array(each, field.type) for each, field in zip(found, _DOCUMENTS, strict=True)]
        self._database.insert("documents", pa.Table.from_arrays(columns, schema=_DOCUMENTS))


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type=kind)
    except UnicodeEncodeError:
        # A name on a local disk that is no UTF-8. Its bytes are spelled out with backslashes, which
        # no name may have: it is then named as hostile, like the others that cannot be written.
        return pa.array([v.encode("utf-8", "backslashreplace").decode() for v in values], type=kind)


def listing_prefixes(prefix: str, *, all_media: bool = False) -> tuple[str, str]:
    """The prefixes (of media, of documents) to list for a run narrowed to `prefix`.

    Whole folders, always: the document `a-0-mp4.json` belongs to `a.mp4`, so that a listing cut
    inside a file name would show documents without their media, and call them orphans. `all_media`: names
    of a table are judged over all of them.
    """
    folder = prefix[: prefix.rfind("/") + 1]
    return "" if all_media else folder, DOCUMENTS + folder
