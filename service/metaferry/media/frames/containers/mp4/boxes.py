"""The boxes of an MP4: where they begin and end. Pure; requests ranges.

Every box must lie inside the one around it, and looking at boxes has a budget. What a box means
is in the modules beside this one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from metaferry.media.frames.containers.reading import Asking, Damaged, NoProof, OverBudget, Source

#: What is read beyond the end of the mdat box, in the hope to have all of moov with it.
TAIL: Final = 256 << 10

#: What is fetched with a box header that is hopped to.
_AHEAD: Final = 1 << 10

#: Most boxes that are looked at, against hostile files.
MAX_BOXES: Final = 200_000


@dataclass(frozen=True, slots=True)
class Box:
    kind: bytes
    start: int  # of the header
    body: int
    end: int


@dataclass(slots=True)
class Budget:
    boxes: int = 0

    def spend(self) -> None:
        self.boxes += 1
        if self.boxes > MAX_BOXES:
            raise OverBudget(f"more than {MAX_BOXES} boxes")


def find_moov(source: Source, budget: Budget) -> Asking[tuple[Box | None, bool]]:
    """(the moov box, whether a fragment came before or right behind it)."""
    at, moov = 0, None
    while at < source.size:
        if at + 8 > source.size and moov is None:
            raise Damaged("the file ends before its structure does")
        if at + 8 > source.size:
            return moov, False
        box = yield from box_at(source, at, source.size, budget, ahead=TAIL)
        if box.kind == b"moof":
            return moov, True
        if box.kind == b"moov":
            if moov is not None:
                raise NoProof("two moov boxes")
            moov = box
            if source.known(box.end, box.end + 8):
                at = box.end
                continue
            # mvex shows whether fragments follow; FFmpeg ignores a second moov.
            return moov, False
        if moov is not None and box.kind == b"mdat":
            return moov, False
        at = box.end
    return moov, False


def box_at(source: Source, at: int, end: int, budget: Budget, ahead: int = 0) -> Asking[Box]:
    """The header of the box at `at`, which must lie inside `end`."""
    budget.spend()
    size, kind = struct.unpack(">I4s", (yield from source.get(at, at + 8, ahead)))
    body = at + 8
    if size == 1:
        (size,) = struct.unpack(">Q", (yield from source.get(at + 8, at + 16, ahead)))
        body = at + 16
    elif size == 0:
        size = end - at
    if size < body - at or at + size > end:
        raise Damaged(f"a box at byte {at} does not fit its place: the file is cut or damaged")
    return Box(kind, at, body, at + size)


def children(source: Source, start: int, end: int, budget: Budget) -> Asking[list[Box]]:
    found: list[Box] = []
    while start + 8 <= end:
        if not any((yield from source.get(start, start + 4))):
            raise NoProof("a box without a size inside another")
        box = yield from box_at(source, start, end, budget, ahead=_AHEAD)
        found.append(box)
        start = box.end
    return found


def only(boxes: list[Box], kind: bytes) -> Box:
    """The box of a kind that must be there exactly once."""
    found = [box for box in boxes if box.kind == kind]
    if len(found) != 1:
        raise NoProof(f"{len(found)} {kind.decode('latin-1')} boxes where one is needed")
    return found[0]


def maybe(boxes: list[Box], kind: bytes) -> Box | None:
    return only(boxes, kind) if any(box.kind == kind for box in boxes) else None
