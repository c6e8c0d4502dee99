"""Whether a file of which no reader knows the format is one that was cut in its first bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from metaferry.errors import JobError
from metaferry.tables.readers.annotations.elements import is_open
from metaferry.tables.readers.annotations.xml_stream import BrokenXml, read_xml
from metaferry.tables.readers.contract import Given
from metaferry.tables.readers.files import HEAD, ReaderFile

_MARKS: Final = {b"{": "JSON", b"[": "JSON", b"<": "XML"}


class EndsEarly(JobError):
    """A JSON or XML file ends before anything in it tells its format."""


def raise_if_cut(given: Given, file: ReaderFile) -> None:
    """Raises EndsEarly for a file of less than `HEAD` bytes whose first bracket or tag is never closed."""
    head = file.head()
    kind = _MARKS.get(head.lstrip()[:1])
    if kind is None or len(head) >= HEAD or not (_is_cut_xml(head) if kind == "XML" else is_open(head)):
        return
    line, byte = head.count(b"\n") + 1, len(head)
    raise EndsEarly(
        f"{file.url} is {kind} that ends early, in line {line:,} at byte {byte:,}: it is cut short",
        place=given.place,
        advice="copy it again from where it came",
    )


def _is_cut_xml(text: bytes) -> bool:
    try:
        for _ in read_xml(iter([text]), _Unheard()):
            pass
    except BrokenXml as error:
        return error.is_cut
    return False


class _Unheard:
    """A handler that is told of a document, and keeps nothing."""

    def begin(self, path: tuple[str, ...], attributes: Mapping[str, str], line: int) -> None:
        pass

    def end(self, path: tuple[str, ...], text: str, line: int) -> None:
        pass
