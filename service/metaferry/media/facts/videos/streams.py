"""Videos without a container that has headers: MPEG streams and raw HEVC. Pure.

They are media, and tell nothing here: their pictures would have to be parsed for it.
"""

from __future__ import annotations

from typing import Final

#: How an MPEG program stream, MPEG-1 or MPEG-2 video, and MPEG-4 video begin, the latter in two ways
#: (ISO/IEC 13818-1, -2, 14496-2).
_MPEG: Final = (b"\0\0\1\xba", b"\0\0\1\xb3", b"\0\0\1\xb0", b"\0\0\1\0\0\0\1\x20")
#: A packet of a transport stream, in bytes, and what it begins with.
_PACKET, _SYNC = 188, 0x47
#: NAL units of HEVC that a stream begins with: parameter sets and a delimiter (ITU-T H.265, table 7-1).
_HEVC_FIRST: Final = frozenset({32, 33, 34, 35})


def stream_of(head: bytes) -> str | None:
    """`mpeg` or `hevc` by the first bytes of a file; None where they are neither."""
    if head.startswith(_MPEG) or (len(head) > _PACKET and head[0] == head[_PACKET] == _SYNC):
        return "mpeg"
    start = head.find(b"\0\0\1", 0, 4)
    if 0 <= start <= 1 and len(head) > start + 4:
        header = head[start + 3]
        if not header & 0x81 and header >> 1 in _HEVC_FIRST and head[start + 4] == 1:
            return "hevc"
    return None
