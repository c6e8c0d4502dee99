"""What the first bytes of a container promise about the length of the file. Pure.

Matroska and AVI end without an error when they are cut: FFmpeg decodes what is there. Their
headers name the whole length, so a cut upload can at least be distinguished from a complete file. A length
of "unknown" (live recordings) or zero promises nothing. Never counts anything.
"""

from __future__ import annotations


def ends_early(head: bytes, size: int) -> bool:
    """Whether the file of `size` bytes, which begins with `head`, ends before the length in its header.

    `head`: at least its first 64 bytes where it has them. False for every other container.
    """
    if head[:4] == b"RIFF":
        promised = int.from_bytes(head[4:8], "little")
        return promised > 0 and 8 + promised > size
    if head[:4] == b"\x1aE\xdf\xa3":
        return _matroska_ends_early(head, size)
    return False


def _matroska_ends_early(head: bytes, size: int) -> bool:
    header = _element_size(head, 4)
    if header is None:
        return False
    length, at = header
    at += length  # the EBML header's content
    if head[at : at + 4] != b"\x18\x53\x80\x67":  # Segment
        return False
    segment = _element_size(head, at + 4)
    if segment is None:
        return False
    length, at = segment
    return at + length > size


def _element_size(data: bytes, at: int) -> tuple[int, int] | None:
    """(size, position after it) of an EBML data size; None where it is unknown, cut or no size."""
    if at >= len(data) or data[at] == 0:
        return None
    width = 9 - data[at].bit_length()
    if at + width > len(data):
        return None
    mask = (1 << 7 * width) - 1
    value = int.from_bytes(data[at : at + width], "big") & mask
    return None if value == mask else (value, at + width)
