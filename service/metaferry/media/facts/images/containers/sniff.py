"""Which container the first bytes of an image are; the name of the file is not used. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from metaferry.media.facts.images.containers import jpeg, png, small, tiff, webp
from metaferry.media.facts.images.containers.parts import Parts
from metaferry.media.facts.images.ifds import TIFF_HEADERS
from metaferry.media.facts.images.window import Window
from metaferry.media.frames.containers.reading import Asking

Walk: TypeAlias = Callable[[Window, Parts], Asking[None]]

_PNM: Final = frozenset(b"P%d" % number for number in range(1, 7))


def container_of(head: bytes) -> tuple[str, Walk] | None:
    """The name of the container, and what walks it; None for what is no image that is known here."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg", jpeg.walk
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png", png.walk
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp", webp.walk
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif", small.gif
    if head.startswith(TIFF_HEADERS):
        return "tiff", tiff.walk
    if head[:2] == b"BM":
        return "bmp", small.bmp
    if head[:2] in _PNM and head[2:3].isspace():
        return "pnm", small.pnm
    return None
