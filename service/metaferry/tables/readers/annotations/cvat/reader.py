"""The reader of CVAT files, and the records of one that stands alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from metaferry.tables.readers.annotations.counted import counted_query, needs
from metaferry.tables.readers.annotations.cvat.document import CvatDocument
from metaferry.tables.readers.annotations.cvat.rows import IMAGES, OBJECTS
from metaferry.tables.readers.annotations.opened import OpenedFiles, Placed, Rejected
from metaferry.tables.readers.annotations.xml_stream import BrokenXml
from metaferry.tables.readers.contract import Facts, Given, TooMuch, Wanted
from metaferry.tables.readers.files import ReaderFile

#: VOC's files begin with <annotation>.
_BEGIN: Final = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<annotations[\s>]", re.DOTALL)


class CvatReader:
    """`contract.Reader` of CVAT XML 1.1."""

    key = "annotations"
    name = "cvat"
    title = "CVAT XML 1.1, for images and for video"
    relations = ("images", "objects")
    frame_base: Literal[0, 1] = 0

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        return _BEGIN.match(head) is not None

    def takes_folder(self, names: Sequence[str]) -> bool:
        return False

    def open(self, given: Given) -> OpenedCvat:
        return OpenedCvat(given)


class OpenedCvat(OpenedFiles):
    """`contract.Opened` of it."""

    relations = (IMAGES, OBJECTS)

    def rows(self, file: ReaderFile) -> Iterator[Placed | Rejected]:
        document = CvatDocument(self.before)
        try:
            yield from document.rows(file.utf8())
        except BrokenXml as error:
            raise self.fault(file, error.message, error.advice) from None
        self.before = document.last

    def needs(self) -> Wanted:
        return needs(("frame", "tags", "attributes"))

    def records(self, facts: Facts) -> str:
        ((unnamed, frames),) = facts.rows("SELECT count(*) - count(file_name), count(frame) FROM images")
        if unnamed:
            raise TooMuch("the file does not say of which video its frames are", _OF_A_VIDEO)
        return counted_query(facts, keys=("tags", "attributes"), frame=bool(frames))

    def example(self, table: str) -> str:
        return (
            "SELECT i.file_name, i.frame, count(o.image) AS objects,\n"
            "       count(*) FILTER (WHERE o.category = 'car' AND NOT o.occluded) AS cars\n"
            f"FROM {table}.images i LEFT JOIN {table}.objects o ON o.image = i.image\n"
            "GROUP BY i.image, i.file_name, i.frame"
        )


_OF_A_VIDEO: Final = (
    "SELECT 'clip.mp4' AS file_name, i.frame, count(o.image) AS objects\n"
    "FROM annotations.images i LEFT JOIN annotations.objects o ON o.image = i.image\n"
    "GROUP BY i.frame"
)
