"""What a container gives: pixel size, Exif block, XMP packet. A value that is filled while it is walked."""

from __future__ import annotations

from dataclasses import dataclass, field

from metaferry.media.facts.images.ifds import Ifds


@dataclass(slots=True)
class Parts:
    """What was found so far. What is not there is None.

    width, height: stored pixels. exif: a block as TIFF has it, from its byte order on; `ifds` the same taken
    apart already, of a TIFF. xmp: a packet. problems: what is damaged.
    """

    format: str
    width: int | None = None
    height: int | None = None
    exif: bytes | None = None
    ifds: Ifds | None = None
    xmp: bytes | None = None
    problems: list[str] = field(default_factory=list)
