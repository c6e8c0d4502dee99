"""The facts of one image: its container is walked, then its Exif block and XMP packet are read.

What Exif says goes before what XMP says, fact by fact but for a place, whose parts belong together.
"""

from __future__ import annotations

from typing import Any, Final

from metaferry.media.facts.images.containers.parts import Parts
from metaferry.media.facts.images.containers.sniff import container_of
from metaferry.media.facts.images.exif import exif_facts
from metaferry.media.facts.images.ifds import Ifds, read_ifds
from metaferry.media.facts.images.window import HEAD, Damaged, Window
from metaferry.media.facts.images.xmp import NoPacket, xmp_facts
from metaferry.media.facts.model import NUMBER, TEXT, WHOLE, Fact, FactsKind, Found, Unreadable
from metaferry.media.frames.containers.reading import Asking

FACTS: Final = (
    Fact("format", TEXT, "the container: jpeg, png, webp, gif, tiff, bmp or pnm"),
    Fact("width", WHOLE, "pixels as stored"),
    Fact("height", WHOLE, "pixels as stored"),
    Fact("shown_width", WHOLE, "pixels as a viewer shows it: turned by the orientation"),
    Fact("shown_height", WHOLE, "pixels as a viewer shows it: turned by the orientation"),
    Fact("orientation", WHOLE, "how a viewer turns it, 1 to 8; 5 to 8 swap width and height"),
    Fact("taken", TEXT, "when it was taken by the camera's clock, which has no zone: 2026-05-01T10:00:00.25"),
    Fact("taken_offset", TEXT, "the offset of that clock from UTC, where the camera wrote it: +02:00"),
    Fact("taken_utc", TEXT, "when it was taken, from the offset or from GPS: 2026-05-01T08:00:00.25Z"),
    Fact("make", TEXT, "the maker of the camera"),
    Fact("model", TEXT, "the camera"),
    Fact("lens", TEXT, "the lens"),
    Fact("exposure_time", NUMBER, "seconds"),
    Fact("f_number", NUMBER, "the aperture"),
    Fact("iso", WHOLE, "the sensitivity"),
    Fact("focal_length", NUMBER, "millimetres"),
    Fact("focal_length_35mm", NUMBER, "millimetres, as of a lens for 35 mm film"),
    Fact("lat", NUMBER, "degrees north, negative in the south"),
    Fact("lon", NUMBER, "degrees east, negative in the west"),
    Fact("altitude", NUMBER, "metres above the level of the sea"),
)
#: Orientations from this one on lay a picture on its side.
_TURNED: Final = 5
_PLACE: Final = ("lat", "lon")
_TIME: Final = ("taken", "taken_offset", "taken_utc")


def read(size: int) -> Asking[Found]:
    """The facts of an image of `size` bytes; `FactsKind.read` has the rules."""
    [head] = yield [(0, min(size, HEAD))]
    container = container_of(head)
    if container is None:
        raise Unreadable(_unknown(head))
    name, walk = container
    window, parts = Window(size, head), Parts(name)
    try:
        yield from walk(window, parts)
    except Damaged as error:
        if parts.width is None and parts.exif is None and parts.ifds is None:
            raise Unreadable(f"damaged {name}: {error}") from None
        parts.problems.append(str(error))
    return _found(parts)


def _unknown(head: bytes) -> str:
    """Why a file is none of the known images: phones write HEIC and AVIF under other names, too."""
    brand = head[8:12].decode("ascii", "replace").strip()
    if head[4:8] == b"ftyp" and brand.isalnum():
        return f"it is an ISO media file ({brand}), and no image of a format that is known here"
    return "it is no image of a format that is known here"


def _found(parts: Parts) -> Found:
    """What the parts of an image say."""
    values: dict[str, Any] = {"format": parts.format}
    for side, length in (("width", parts.width), ("height", parts.height)):
        if length is not None and length > 0:
            values[side] = length
    ifds = parts.ifds or _block(parts)
    said = {} if ifds is None else exif_facts(ifds)
    if parts.xmp is not None:
        try:
            said = _with_xmp(said, xmp_facts(parts.xmp))
        except NoPacket as error:
            parts.problems.append(str(error))
    values |= said
    sides = ("width", "height") if values.get("orientation", 1) < _TURNED else ("height", "width")
    for name, side in zip(("shown_width", "shown_height"), sides, strict=True):
        if side in values:
            values[name] = values[side]
    return Found(values, tuple(dict.fromkeys(parts.problems)))


def _block(parts: Parts) -> Ifds | None:
    """The directories of the Exif block, which is in memory."""
    if parts.exif is None:
        return None
    asking = read_ifds(Window(len(parts.exif), parts.exif))
    try:
        next(asking)
    except StopIteration as done:
        ifds: Ifds = done.value
        parts.problems += [f"Exif: {problem}".replace("the file", "the block") for problem in ifds.problems]
        return ifds
    except Damaged as error:
        parts.problems.append(f"Exif: {error}".replace("the file", "the block"))
        return None
    raise AssertionError("a block that is in memory asks for nothing")


def _with_xmp(exif: dict[str, Any], xmp: dict[str, Any]) -> dict[str, Any]:
    """The facts of both. A time and a place are of one of them alone."""
    for group in (_PLACE, _TIME):
        if any(name in exif for name in group):
            xmp = {name: value for name, value in xmp.items() if name not in group}
    return xmp | exif


IMAGES: Final = FactsKind("image", 1, FACTS, read)
