"""The lists of a large JSON document, element by element, in one pass and in bounded memory.

Annotation files are one object with a few long lists in it, in any order, or one list. An element is cut out
by its braces and decoded by its reader, strictly and only as far as it is wanted: polygons, which are most of
the bytes, are never built. So several lists need one pass, where a general parser of events needs one for
each of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Final, NamedTuple

import msgspec

from metaferry.errors import JobError
from metaferry.tables.readers.contract import MAX_DEPTH, MAX_ELEMENT

#: The name of the list of a document that is one.
WHOLE: Final = ""

#: Up to the next bracket that is not in a string. Possessive: nothing is tried twice.
_BRACKET: Final = re.compile(rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+[{}\[\]]', re.DOTALL)
_PLAIN: Final = rb'[^"{}\[\]]*+'
_TEXTS: Final = _PLAIN + rb'(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"' + _PLAIN + rb")*+"


def _nested(levels: int) -> bytes:
    """What stands between two brackets, with so many levels of brackets in it."""
    if not levels:
        return _TEXTS
    return _TEXTS + rb"(?:[{\[]" + _nested(levels - 1) + rb"[}\]]" + _TEXTS + rb")*+"


#: A whole element, as nearly all are: three times as fast as bracket by bracket. Whether the brackets of a
#: pair are of one kind is for whoever decodes it.
_ELEMENT: Final = re.compile(rb"[{\[]" + _nested(5) + rb"[}\]]", re.DOTALL)
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BLANK: Final = re.compile(rb"[ \t\r\n]*+")
#: A number or a word, up to what ends it.
_SCALAR: Final = re.compile(rb'[^ \t\r\n,\[\]{}":]++')
_SPACE: Final = ord(" ")
_OPENS: Final = frozenset(b"{[")
_KEY: Final = msgspec.json.Decoder(str)
_RAW: Final = msgspec.json.Decoder(msgspec.Raw)


class Element(NamedTuple):
    """An element of a list: the list's key, its number from 1, and its text."""

    list: str
    number: int
    text: bytes


def elements(
    blocks: Iterator[bytes], lists: Collection[str], fault: Callable[[str], JobError]
) -> Iterator[Element]:
    """The elements of the lists of these keys, in the order of the document; `WHOLE`: of a document that is
    a list. An object in the place of a list gives its values.

    Raises `fault(message)` for a text that is no JSON document, is cut short, is nested deeper than
    `MAX_DEPTH`, has an element of more than `MAX_ELEMENT` bytes, or has one of these keys twice.
    """
    scan = _Scan(blocks, fault)
    first = scan.next_byte()
    if first is None:
        raise fault("is empty, and a JSON document is expected")
    if first == ord("["):
        if WHOLE not in lists:
            raise fault("is a list, and an object with lists in it is expected")
        yield from scan.items(WHOLE)
    elif first == ord("{"):
        yield from _of_object(scan, lists, fault)
    else:
        raise fault("is no JSON document: it begins with neither { nor [")
    if scan.next_byte() is not None:
        raise fault(f"has more after its end, at byte {scan.position:,}")


def is_open(text: bytes) -> bool:
    """Whether a text that begins with a bracket ends before that is closed."""
    depth = at = 0
    while (match := _BRACKET.match(text, at)) is not None:
        at = match.end()
        depth += 1 if text[at - 1] in _OPENS else -1
        if not depth:
            return False
    return True


def _of_object(scan: _Scan, lists: Collection[str], fault: Callable[[str], JobError]) -> Iterator[Element]:
    seen: set[str] = set()
    for key in scan.members():
        first = scan.next_byte()
        if key in seen:
            raise fault(f"has the key {key} twice")
        if key in lists:
            seen.add(key)
        if key in lists and first == ord("["):
            yield from scan.items(key)
        elif key in lists and first == ord("{"):
            for number, _ in enumerate(scan.members(), 1):
                scan.next_byte()
                yield Element(key, number, scan.value(f"element {number:,} of {key}"))
        else:
            scan.skip(key)


class _Scan:
    """A text that passes: what is of no use any more is let go of."""

    def __init__(self, blocks: Iterator[bytes], fault: Callable[[str], JobError]) -> None:
        self._blocks = blocks
        self._fault = fault
        self._text = b""
        self._at = 0
        self._before = 0

    @property
    def position(self) -> int:
        """Bytes of the document before the place where it is."""
        return self._before + self._at

    def next_byte(self) -> int | None:
        """The next byte that is not blank, which is still to be read; None at the end."""
        if self._at < len(self._text) and self._text[self._at] > _SPACE:
            return self._text[self._at]
        while True:
            match = _BLANK.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return None

    def members(self) -> Iterator[str]:
        """The keys of an object; each value is to be read before the next key."""
        self._at += 1
        byte = self.next_byte()
        while byte != ord("}"):
            if byte != ord('"'):
                raise self._expected("a key in double quotes", byte)
            key = self._decoded(self.value("a key"))
            if self.next_byte() != ord(":"):
                raise self._expected("a colon", self.next_byte())
            self._at += 1
            yield key
            byte = self.next_byte()
            if byte == ord(","):
                self._at += 1
                byte = self.next_byte()
                if byte == ord("}"):
                    raise self._expected("a key", byte)
            elif byte != ord("}"):
                raise self._expected("a comma, or the end of the object", byte)
        self._at += 1

    def items(self, name: str) -> Iterator[Element]:
        """The elements of a list."""
        self._at += 1
        byte = self.next_byte()
        number = 0
        while byte != ord("]"):
            number += 1
            match = _ELEMENT.match(self._text, self._at) if byte in _OPENS else None
            if match is None:
                yield Element(name, number, self.value(f"element {number:,} of {name or 'the list'}"))
            else:
                self._at = match.end()
                yield Element(name, number, match[0])
            byte = self.next_byte()
            if byte == ord(","):
                self._at += 1
                byte = self.next_byte()
                if byte == ord("]"):
                    raise self._expected("an element", byte)
            elif byte != ord("]"):
                raise self._expected("a comma, or the end of the list", byte)
        self._at += 1

    def value(self, what: str) -> bytes:
        """The text of the value that begins here."""
        byte = self.next_byte()
        if byte is None:
            raise self._cut(what)
        end = self._bracketed(what) if byte in _OPENS else self._plain(what, byte)
        text = self._text[self._at : end]
        self._at = end
        return text

    def skip(self, key: str) -> None:
        """Passes over a value, whatever its size, but not over what is no JSON."""
        byte = self.next_byte()
        if byte == ord("["):
            for _ in self.items(key):
                pass
            return
        text = self.value(key)
        try:
            _RAW.decode(text)
        except msgspec.MsgspecError as error:
            raise self._fault(f"is no valid JSON below {key}: {error}") from None

    def _bracketed(self, what: str) -> int:
        """Where the object or list ends that begins here."""
        depth, at = 0, self._at
        while True:
            match = _BRACKET.match(self._text, at)
            if match is None:
                before = self._at
                if not self._more(what):
                    raise self._cut(what)
                at -= before
                continue
            at = match.end()
            if self._text[at - 1] in _OPENS:
                depth += 1
                if depth > MAX_DEPTH:
                    raise self._fault(f"is nested deeper than {MAX_DEPTH} levels, in {what}")
            else:
                depth -= 1
                if not depth:
                    return at

    def _plain(self, what: str, byte: int) -> int:
        """Where the text, number or word ends that begins here."""
        pattern = _STRING if byte == ord('"') else _SCALAR
        while True:
            match = pattern.match(self._text, self._at)
            # A number that reaches to the end of what is there may go on.
            if match is not None and (match.end() < len(self._text) or pattern is _STRING):
                return match.end()
            if match is None and pattern is _SCALAR:
                raise self._expected("a value", byte)
            if not self._more(what):
                if match is None:
                    raise self._cut(what)
                return match.end()

    def _more(self, what: str = "") -> bool:
        """Takes the next block; what was read is let go of. False at the end."""
        rest = self._text[self._at :]
        if len(rest) > MAX_ELEMENT:
            raise self._fault(f"has more than {MAX_ELEMENT >> 20} MiB in {what}, which is no annotation")
        # What has no end yet is looked at from its beginning again: so as much is taken as it is long.
        taken, size = [rest], 0
        while size <= len(rest) <= MAX_ELEMENT - size:
            block = next(self._blocks, b"")
            if not block:
                break
            taken.append(block)
            size += len(block)
        if not size:
            return False
        self._before += self._at
        self._text, self._at = b"".join(taken), 0
        return True

    def _decoded(self, text: bytes) -> str:
        try:
            return _KEY.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._fault(f"has a key that is no text before byte {self.position:,}: {error}") from None

    def _cut(self, what: str) -> JobError:
        return self._fault(f"ends in {what}, at byte {self._before + len(self._text):,}: it is cut short")

    def _expected(self, wanted: str, byte: int | None) -> JobError:
        if byte is None:
            return self._cut("the document")
        return self._fault(f"is no valid JSON: {wanted} is expected at byte {self.position:,}")
