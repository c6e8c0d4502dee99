"""Documents and media as an opened tree gives them, without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from metaferry.lightly.names import document_path, frame_document_path, media_kind
from metaferry.planning.database import Database, open_database

MEDIA = pa.schema(
    [("path", pa.string()), ("kind", pa.string()), ("included", pa.bool_()), ("target", pa.string())]
)


@dataclass(frozen=True)
class Document:
    target: str
    kind: str
    media: str
    frame: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    orphan: bool = False
    misnamed: bool = False
    invalid: bool = False
    size: int = 0


def of_media(path: str, metadata: dict[str, Any], **more: Any) -> Document:
    return Document(document_path(path), str(media_kind(path)), path, None, metadata, **more)


def of_frame(video: str, index: int, digits: int, metadata: dict[str, Any], **more: Any) -> Document:
    return Document(frame_document_path(video, index, digits), "frame", video, index, metadata, **more)


@contextmanager
def database_with(media: Sequence[str], memory_limit: str = "384MB") -> Iterator[Database]:
    with open_database(memory_limit=memory_limit, scratch=None) as database:
        database.create_like("media", MEDIA)
        rows = [(path, str(media_kind(path)), True, document_path(path)) for path in media]
        database.insert_rows("media", MEDIA, rows)
        yield database
