"""XML as it comes: what begins and what ends, with the line, in memory bounded by the largest text.

No tree is built. A document type is refused where it begins, so no entity is ever expanded; nesting, the size
of a text and the size of a tag have limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol
from xml.parsers import expat

from metaferry.tables.readers.contract import MAX_DEPTH, MAX_ELEMENT

#: Bytes that are parsed before what was found in them is handed on.
_PIECE: Final = 64 << 10


class BrokenXml(Exception):
    """What is wrong with a document as a whole, to be read after its name; and what to do about it.

    `is_cut`: it ends before its last tag, and what came before is well formed.
    """

    def __init__(self, message: str, advice: str = "", *, is_cut: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.is_cut = is_cut


class Handler(Protocol):
    """What is told of a document, in its order. `line` is the line of the tag."""

    def begin(self, path: tuple[str, ...], attributes: Mapping[str, str], line: int) -> None:
        """An element begins; the last step of `path` is its own."""
        ...

    def end(self, path: tuple[str, ...], text: str, line: int) -> None:
        """An element ends; `text` is its own, without blanks around it, "" for one with children."""
        ...


def read_xml(blocks: Iterator[bytes], handler: Handler) -> Iterator[None]:
    """Tells `handler` of a document, and yields after every few of its bytes. Raises BrokenXml."""
    reading = _Reading(handler)
    for block in blocks:
        for start in range(0, len(block), _PIECE):
            reading.feed(block[start : start + _PIECE])
            yield
    reading.close()
    yield


class _Reading:
    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._path: tuple[str, ...] = ()
        self._text: list[str] = []
        self._characters = 0
        self._fed = 0
        self._held: list[bytes] = []
        self._holding = 0
        self._last = 0  # how much was fed when a tag or a text was last told
        parser = self._parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters_of
        parser.StartDoctypeDeclHandler = self._doctype
        parser.CommentHandler = parser.ProcessingInstructionHandler = self._passed_over

    def feed(self, piece: bytes) -> None:
        self._held.append(piece)
        self._holding += len(piece)
        # What has no end yet is kept by the parser, whatever its size, and each call begins anew with it: so
        # it is given as much as it keeps.
        kept = self._fed - self._last
        if kept + self._holding > MAX_ELEMENT:
            raise BrokenXml(
                f"has a tag of more than {MAX_ELEMENT >> 20} MiB (line {self._parser.CurrentLineNumber})",
                "a quote that is never closed is the usual cause",
            )
        if self._holding >= kept:
            self._parse_held()

    def close(self) -> None:
        self._parse_held()
        self._parse(b"", last=True)

    def _parse_held(self) -> None:
        held, self._held, self._holding = b"".join(self._held), [], 0
        self._parse(held, last=False)
        self._fed += len(held)

    def _parse(self, piece: bytes, *, last: bool) -> None:
        try:
            self._parser.Parse(piece, last)
        except expat.ExpatError as error:
            what = expat.errors.messages.get(error.code, "it cannot be read")
            raise BrokenXml(
                f"is not valid XML: {what} (line {error.lineno})",
                "export it again, or upload it again where it was cut short",
                is_cut=last and self._fed > 0,
            ) from None
        except (LookupError, ValueError):
            raise BrokenXml("names an encoding that is not known", "save it as UTF-8") from None

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) >= MAX_DEPTH:
            raise BrokenXml(
                f"has more than {MAX_DEPTH} levels of elements (line {self._parser.CurrentLineNumber})"
            )
        self._path = (*self._path, name)
        self._last = self._fed
        self._text, self._characters = [], 0
        self._handler.begin(self._path, attributes, self._parser.CurrentLineNumber)

    def _end(self, name: str) -> None:
        self._last = self._fed
        text = "".join(self._text).strip()
        self._text, self._characters = [], 0
        self._handler.end(self._path, text, self._parser.CurrentLineNumber)
        self._path = self._path[:-1]

    def _characters_of(self, data: str) -> None:
        self._last = self._fed
        self._characters += len(data)
        if self._characters > MAX_ELEMENT:
            raise BrokenXml(
                f"has a text of more than {MAX_ELEMENT >> 20} MiB (line {self._parser.CurrentLineNumber})"
            )
        if not data.isspace():
            self._text.append(data)

    def _passed_over(self, *_: object) -> None:
        self._last = self._fed

    def _doctype(self, *_: object) -> None:
        raise BrokenXml(
            f"has a document type (line {self._parser.CurrentLineNumber}), which no program writes here",
            "remove <!DOCTYPE …>: what it declares is not expanded",
        )
