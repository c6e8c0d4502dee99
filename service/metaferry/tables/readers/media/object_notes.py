"""One spelling for each name in the metadata of objects, and what is told of all of them together. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.findings import Code
from metaferry.job.readers.object import Object
from metaferry.tables.model import folded
from metaferry.tables.readers.annotations.coco_records import category_key
from metaferry.tables.readers.contract import Note


class Spelling:
    """One spelling for each name, in which it can be a key of a document and a column of SQL.

    `.`, `[` and `]`, which part a path in a document, become `_`. SQL does not tell names apart that differ
    in letter case only, and stores do not agree on case: the first spelling in the order of paths counts. Of
    two such names of one object the first in the order of names does; `dropped` counts the others.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self.dropped = 0

    def __call__(self, texts: pa.Array) -> pa.Array:
        """JSON objects with the names as they are spelled from here on."""
        if texts.null_count == len(texts):
            return texts
        spelled = [None if text is None else self._text(text) for text in texts.to_pylist()]
        return pa.array(spelled, texts.type)

    def _text(self, text: str) -> str:
        pairs: dict[str, object] = json.loads(text)
        found: dict[str, object] = {}
        for name, value in pairs.items():
            key = category_key(name)
            found.setdefault(self._known.setdefault(folded(key), key), value)
        self.dropped += len(pairs) - len(found)
        return text if list(found) == list(pairs) else json.dumps(found, ensure_ascii=False)


class Noticed:
    """Counts over the rows that were read, and what they tell the user."""

    def __init__(self) -> None:
        self._rows = self._metadata = self._tags = 0
        self._unreadable = self._objects = 0
        self._first = ""

    def look_at(self, batch: pa.RecordBatch) -> None:
        """Takes in rows of `MediaAccess.objects`."""
        self._rows += batch.num_rows
        self._metadata += batch.num_rows - batch.column("metadata").null_count
        self._tags += batch.num_rows - batch.column("tags").null_count
        counts = pc.fill_null(batch.column("unreadable"), 0)
        bad = batch.column("path").filter(pc.greater(counts, 0))
        if len(bad):
            self._first = self._first or bad[0].as_py()
            self._objects += len(bad)
            self._unreadable += pc.sum(counts).as_py()

    def notes(self, asked: Object, dropped: int) -> Iterator[Note]:
        """`asked` is what was wanted of the store; `dropped` is of `Spelling`."""
        if dropped:
            yield Note(
                Code.MEDIA_METADATA_UNREADABLE,
                "warning",
                f"{dropped:,} pair{'s' if dropped > 1 else ''} of metadata or tags left out: another name of "
                "the same object differs in letter case only, or in `.`, `[` and `]` for `_`",
                advice="rename one of them",
            )
        if self._unreadable:
            pairs = f"{self._unreadable:,} pair{'s' if self._unreadable > 1 else ''}"
            objects = f"{self._objects:,} object{'s' if self._objects > 1 else ''}"
            yield Note(
                Code.MEDIA_METADATA_UNREADABLE,
                "warning",
                f"{pairs} of user metadata of {objects} cannot be told as text and are left out, "
                f"first of {self._first}",
                advice="set them again, in ASCII or UTF-8",
            )
        for key, known, what in (("headers", self._metadata, "user metadata"), ("tags", self._tags, "tags")):
            if getattr(asked, key) and self._rows and not known:
                yield Note(
                    Code.MEDIA_NO_FACTS,
                    "info",
                    f"{key}: the store has no {what} of its objects, so the column is null",
                    advice=f"leave {key} out",
                )
