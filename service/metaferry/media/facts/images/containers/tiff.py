"""TIFF and BigTIFF: directories anywhere in the file, of which the first one tells of the image."""

from __future__ import annotations

from metaferry.media.facts.images.containers.parts import Parts
from metaferry.media.facts.images.ifds import HEIGHT, WIDTH, XMP, read_ifds, whole
from metaferry.media.facts.images.window import Window
from metaferry.media.frames.containers.reading import Asking


def walk(window: Window, parts: Parts) -> Asking[None]:
    """Fills the parts of a TIFF. Raises `Damaged` where it has no directory."""
    parts.ifds = yield from read_ifds(window)
    parts.problems += parts.ifds.problems
    parts.width = whole(parts.ifds.main.get(WIDTH)) or None
    parts.height = whole(parts.ifds.main.get(HEIGHT)) or None
    packet = parts.ifds.main.get(XMP)
    parts.xmp = packet if isinstance(packet, bytes) else None
