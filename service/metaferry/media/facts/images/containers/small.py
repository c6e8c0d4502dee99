"""GIF, BMP and PNM: their size is in the first bytes, and Exif they have none."""

from __future__ import annotations

import re
from typing import Final

from metaferry.media.facts.images.containers.parts import Parts
from metaferry.media.facts.images.window import Damaged, Window
from metaferry.media.frames.containers.reading import Asking

#: Bytes in which a PNM header ends, comments included.
_PNM_HEADER: Final = 4 << 10
#: Two numbers with white space and comments between them; a number has at most nine digits.
_GAP: Final = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])+"
_PNM: Final = re.compile(rb"P[1-6]" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})[ \t\r\n\v\f#]")


def gif(window: Window, parts: Parts) -> Asking[None]:
    """The logical screen: what a viewer shows, and frames are parts of."""
    head = yield from window.get(6, 4, "the screen descriptor")
    parts.width = int.from_bytes(head[:2], "little") or None
    parts.height = int.from_bytes(head[2:], "little") or None


def bmp(window: Window, parts: Parts) -> Asking[None]:
    """The info header, or the one of OS/2; a negative height means that rows go down."""
    length = int.from_bytes((yield from window.get(14, 4, "the info header")), "little")
    if length == 12:
        head = yield from window.get(18, 4, "the info header")
        width, height = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:], "little")
    elif 16 <= length <= 1_024:
        head = yield from window.get(18, 8, "the info header")
        width = int.from_bytes(head[:4], "little", signed=True)
        height = abs(int.from_bytes(head[4:], "little", signed=True))
    else:
        raise Damaged(f"its info header has the length {length:,}")
    if width < 0:
        raise Damaged(f"its width is {width:,}")
    parts.width, parts.height = width or None, height or None


def pnm(window: Window, parts: Parts) -> Asking[None]:
    """The text header of P1 to P6."""
    head = yield from window.get(0, min(window.size, _PNM_HEADER), "the header")
    found = _PNM.match(head)
    if found is None:
        raise Damaged("its header has no width and height")
    parts.width, parts.height = int(found[1]) or None, int(found[2]) or None
