"""Which container the first bytes of a file are; the name of the file is not used. Pure.

Only containers with an index reader are detected: anything else is `None`, which is no verdict
about the file but leaves it to FFmpeg in the worker process.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Container: TypeAlias = Literal["mp4", "avi", "matroska"]

#: Types of the first box of an ISO base media or QuickTime file that is taken for one. FFmpeg
#: scores more of them; a file that begins with another box is simply not answered by an index.
_FIRST_BOXES: Final = frozenset({b"ftyp", b"moov", b"mdat", b"styp", b"wide", b"free", b"skip", b"sidx"})


def container_of(head: bytes) -> Container | None:
    """The container of a file that begins with `head` (16 bytes are enough)."""
    if head[4:8] in _FIRST_BOXES:
        return "mp4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    return None
