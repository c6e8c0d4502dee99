"""JSON that is no JSON lines, as records: an array, a list within an object, objects over many lines.

A record is cut out of the stream by its braces, whatever is in it, so that one that is malformed is named
and the others are read. Memory is bounded by a few blocks and the largest record.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.errors import JobError
from metaferry.tables.files.blocks import LONGEST_LINE
from metaferry.tables.files.proof import BLOCK
from metaferry.tables.staging import numbers_from

Layout = Literal["lines", "array", "objects", "object"]

_BLANK: Final = b" \t\r\n"
#: What opens, closes or hides a brace; a string that has no end yet is none.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]|"', re.DOTALL)
_OUTER: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"(?=.)|[{}\[\]:,]|[^\s"{}\[\]:,]+(?=.)', re.DOTALL)
#: In the place of a path: the one list of objects that an object holds.
ANY: Final = ("*",)
#: Keys that an error names.
_KEYS_SHOWN: Final = 5
#: Bytes of a stretch, at least, where there are more.
_ENOUGH: Final = BLOCK // 2


class Record(NamedTuple):
    """A record as bytes: `row` names it, which is the line that it begins in, or its number."""

    line: int
    number: int
    text: bytes | str
    row: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Records, one a line, that nobody has looked at, the rows that name them, their length in the file."""

    text: bytes
    rows: pa.Array
    length: int
    one_a_line: bool = True


def layout_of(head: bytes, *, whole: bool, one_line_is_object: bool) -> Layout:
    """How a text begins that is JSON in some way; `whole`: there is no more of it.

    `one_line_is_object`: an object in one line alone is looked into for a list, and is not a row.
    """
    text = head.lstrip(_BLANK)
    if text.startswith(b"["):
        return "array"
    first, _, rest = text.partition(b"\n")
    more = rest.lstrip(_BLANK)
    if _is_object(first):
        return "object" if one_line_is_object and whole and not more else "lines"
    if b"\n" not in text and not whole and not one_line_is_object:
        return "lines"  # the first of them is a long one
    if not text.startswith(b"{") or rest.lstrip(b"\r\n").startswith(b"{"):
        return "lines"
    end = end_of(text, 0)
    if end is None:
        return "lines" if whole else "object"
    return "objects" if text[end:].strip(_BLANK) else "object"


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def lists_of(text: bytes) -> list[str] | None:
    """The keys of an object whose values are lists of objects; None for what is no object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return [k for k, v in value.items() if isinstance(v, list) and v and isinstance(v[0], dict)]


def end_of(text: bytes, start: int) -> int | None:
    """Where the object or list ends that begins at `start`; None where the text ends before it."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        mark = token[0]
        if mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth <= 0:
                return token.end()
        elif mark == b'"':
            return None
    return None


class Cutter:
    """Records cut out of blocks of UTF-8: in `stretches` that are parted alike, or one by one.

    `path`: the keys that lead to the list of records, () for an array; None for objects one after the
    other. Raises JobError for a text that does not hold such a list, or is cut short.
    """

    def __init__(self, blocks: Iterator[bytes], path: tuple[str, ...] | None, url: str, place: str) -> None:
        self._blocks = blocks
        self._path = path
        self._url = url
        self._place = place
        self._buffer = b""
        self._at = 0
        self._line = 1  # of `_at`
        self._number = 1  # of the record that comes next
        self._entered = self._ended = False
        self._parting: bytes | None = None  # what stands between two records
        self._nested = False  # the same stands within records
        self._by_number: bool | None = None

    @property
    def called(self) -> str:
        return "the record" if self._path is None else "element {number} of the list"

    def take(self, most: int) -> list[Record]:
        """The next records, by their braces, whatever is in them; none at the end."""
        if not self._entered and self._path is not None:
            self._enter(self._path)
        self._entered = True
        end = b"]" if self._path is not None else b""
        found: list[Record] = []
        while len(found) < most and not self._ended:
            buffer, behind = self._buffer, self._at
            mark = self._next(b",")
            if mark == end:
                self._ended = True
                if self._path is not None:
                    self._move(self._at + 1)
                    self._leave()
                break
            if not mark or mark in (b"}", b"]"):
                raise self._broken("the list of records has no end" if not mark else "a stray bracket")
            if found and self._buffer is buffer:
                self._see_parting(buffer[behind : self._at])
            line = self._line
            found.append(Record(line, self._number, self._value(), line))
            self._number += 1
        if self._by_number is None and found:
            self._by_number = len(found) > 1 and found[0].line == found[1].line
        if self._by_number:
            found = [record._replace(row=record.number) for record in found]
        return found

    def _see_parting(self, parting: bytes) -> None:
        if parting.strip(_BLANK) == (b"," if self._path is not None else b""):
            self._parting = parting

    def stretch(self) -> Stretch | None:
        """The records from here on that are parted as those before them, as far as they are read.

        That they are records is for the reader to find out: each comma between two of them is gone, so no
        text in which one is part of another can be read. None where there are none.
        """
        if self._parting is None or self._next(b",") != b"{":
            return None
        while len(self._buffer) - self._at < _ENOUGH and self._more():
            pass
        mark = b"}" + self._parting + b"{"
        if self._nested:
            return self._outer_stretch(mark)
        end = self._buffer.rfind(mark, self._at) + 1
        if end <= self._at:
            return None
        region = self._buffer[self._at : end]
        return self._stretch_of(region, region.split(mark))

    def _outer_stretch(self, mark: bytes) -> Stretch | None:
        """The same where lists in the records are parted so too: braces tell which are the outer ones."""
        records: list[bytes] = []
        begun: list[bytes] = []
        depth = length = 0
        parts = self._buffer[self._at :].split(mark)
        for part in parts[:-1]:
            depth += part.count(b"{") + part.count(b"[") - part.count(b"}") - part.count(b"]")
            begun.append(part)
            if depth == 1:  # its own brace is in the mark, and so is the next one's
                records.append(mark.join(begun))
                length += len(records[-1]) + len(mark)
                begun = []
        if not records:
            return None
        records[-1] += b"}"
        end = self._at + length - len(mark) + 1
        return self._stretch_of(self._buffer[self._at : end], records)

    def _stretch_of(self, region: bytes, parts: list[bytes]) -> Stretch:
        count = len(parts)
        more = (self._parting or b"").count(b"\n")
        lines = region.count(b"\n") - more * (count - 1)  # within records
        if self._by_number:
            rows = numbers_from(self._number, count)
        elif lines:
            ends = itertools.accumulate(part.count(b"\n") + more for part in parts[:-1])
            rows = pa.array([self._line, *(self._line + end for end in ends)], pa.int64())
        else:
            rows = pc.add(pc.multiply(numbers_from(0, count), more), self._line)
        return Stretch(b"}\n{".join(parts), rows, len(region), one_a_line=not lines)

    def passed(self, stretch: Stretch) -> None:
        """To be called when the records of a stretch were read."""
        self._move(self._at + stretch.length)
        self._number += len(stretch.rows)

    def looks_deeper(self) -> bool:
        """Tries another way to part a stretch that could not be read; False where there is none."""
        self._nested, tried = True, self._nested
        return not tried

    def looks_plainly(self) -> None:
        self._nested = False

    def _leave(self) -> None:
        """What follows the list: the rest of the objects around it, and nothing more."""
        depth = len(self._path or ())
        while mark := self._next(b",:"):
            if mark == b"}":
                self._move(self._at + 1)
                depth -= 1
            elif depth <= 0:
                raise self._broken("there is more after the list of records")
            else:
                if self._path == ANY and depth == 1 and mark == b"[" and self._holds_objects():
                    raise JobError(
                        f"{self._url} holds several lists, the second in line {self._line}",
                        place=self._place,
                        advice="say which of them has the records, for instance records: $.annotations",
                    )
                self._skip()
        if depth > 0:
            raise self._broken("the object around the list of records has no end")

    def _enter(self, path: tuple[str, ...]) -> None:
        """Moves behind the bracket that opens the list of records."""
        for key in path:
            if self._next() != b"{":
                raise self._no_list()
            self._move(self._at + 1)
            passed: list[str] = []
            while True:
                mark = self._next(b",")
                if mark != b'"':
                    raise self._no_list(key, passed)
                name = self._string()
                passed.append(name)
                value = self._next(b":")
                if name == key or (path == ANY and value == b"[" and self._holds_objects()):
                    break
                self._skip()
        if self._next() != b"[":
            raise self._no_list()
        self._move(self._at + 1)

    def _holds_objects(self) -> bool:
        """Whether the list that begins here begins with an object."""
        while True:
            inner = self._buffer[self._at + 1 :].lstrip(_BLANK)
            if inner:
                return inner.startswith(b"{")
            if not self._more():
                return False

    def _no_list(self, key: str = "", there: Sequence[str] = ()) -> JobError:
        """`there` are the keys of the object in which `key` is not found."""
        path = self._path or ()
        shown = "in it" if path == ANY else f"at {'.'.join(('$', *path))}"
        advice = "say where the list is, for instance records: $.annotations"
        if there and path != ANY:
            before = path[: path.index(key)]
            near = difflib.get_close_matches(key, there, 1)
            listed = ", ".join(there[:_KEYS_SHOWN]) + (", …" if len(there) > _KEYS_SHOWN else "")
            right = f"did you mean records: {'.'.join(('$', *before, *near))}?"
            advice = right if near else f"{'.'.join(('$', *before))} has the keys {listed}"
        return JobError(f"{self._url} has no list of records {shown}", place=self._place, advice=advice)

    def _broken(self, what: str) -> JobError:
        return JobError(
            f"{self._url} is not valid JSON: {what} (line {self._line})",
            place=self._place,
            advice="write it again, or upload it again where it was cut short",
        )

    # -- the buffer

    def _more(self) -> bool:
        """Adds a block; what was passed is given up. False at the end."""
        if len(self._buffer) - self._at > LONGEST_LINE:
            raise JobError(
                f"{self._url}: the record that begins in line {self._line} has more than "
                f"{LONGEST_LINE >> 20} MiB",
                place=self._place,
                advice="a quote or a bracket that is never closed is the usual cause",
            )
        block = next(self._blocks, b"")
        self._buffer = self._buffer[self._at :] + block
        self._at = 0
        return bool(block)

    def _move(self, to: int) -> None:
        self._line += self._buffer.count(b"\n", self._at, to)
        self._at = to

    def _next(self, besides: bytes = b"") -> bytes:
        """The next byte that is no blank and none of `besides`, without passing it; b"" at the end."""
        passed = _BLANK + besides
        while True:
            rest = len(self._buffer)
            at = self._at
            while at < rest and self._buffer[at] in passed:
                at += 1
            self._move(at)
            if at < rest:
                return self._buffer[at : at + 1]
            if not self._more():
                return b""

    def _value(self) -> bytes:
        """The value that begins here, which is passed."""
        while True:
            if self._buffer[self._at : self._at + 1] in (b"{", b"["):
                end = end_of(self._buffer, self._at)
            else:
                match = _OUTER.match(self._buffer, self._at)
                end = match.end() if match else None
            if end is not None:
                value = self._buffer[self._at : end]
                self._move(end)
                return value
            if not self._more():
                raise self._broken("a value has no end")

    def _string(self) -> str:
        try:
            return str(json.loads(self._value()))
        except ValueError:
            raise self._broken("a key is no text") from None

    def _skip(self) -> None:
        """Passes the value that begins here, whatever its size."""
        if self._next() not in (b"{", b"["):
            self._value()
            return
        depth = 0
        while True:
            for token in _TOKEN.finditer(self._buffer, self._at):
                mark = token[0]
                if mark == b'"':
                    self._move(token.start())
                    break
                if mark in (b"{", b"["):
                    depth += 1
                elif mark in (b"}", b"]"):
                    depth -= 1
                    if not depth:
                        self._move(token.end())
                        return
            else:
                self._move(len(self._buffer))
            if not self._more():
                raise self._broken("a value has no end")
