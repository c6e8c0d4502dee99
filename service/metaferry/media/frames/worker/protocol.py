"""The messages between a run and its frame worker: length-prefixed, over two pipes.

The worker gets the size of one video and requests ranges of it; the run sends the bytes; the worker
ends with its result. It has no path, no URL and no credentials. Both sides refuse a message that is
longer than its kind may be: after a hostile file a worker is no more trusted than the file.

    run -> worker    JOB json      {"size", "extension", "threads", "cpu_seconds", "level", "times",
                                   "proved", "fragments"}; at level "picture" {"size",
                                   "extension", "cpu_seconds", "level", "edge"}
                     DATA bytes    the answer to the READ before it
    worker -> run    HELLO json    {"pid", "av"}: once, when it is ready
                     READ          offset and length, two 8-byte integers
                     PICTURE bytes a small JPEG, at level "picture", where one could be made
                     TICKS         8-byte integers: when frames are shown, ascending; any number
                     DONE json     what `decode.Found` holds; of a picture {"reason"}
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

JOB: Final = b"J"
DATA: Final = b"D"
HELLO: Final = b"H"
READ: Final = b"R"
TICKS: Final = b"T"
PICTURE: Final = b"P"
DONE: Final = b"E"

#: A kind (one byte) and the length of what follows.
HEADER: Final = struct.Struct("<cI")
RANGE: Final = struct.Struct("<QQ")

#: The longest range of one READ, in bytes.
MAX_READ: Final = 8 << 20

#: Most ticks in one message, and of one video: ten days at 25 frames a second.
TICKS_A_MESSAGE: Final = 1 << 16
MAX_TICKS: Final = 25_000_000

#: Most bytes of a picture: some thousand are enough for 160 pixels a side.
MAX_PICTURE: Final = 24 << 10

#: Longest payload of each kind, in bytes.
LONGEST: Final = {
    JOB: 64 << 10,
    DATA: MAX_READ,
    HELLO: 64 << 10,
    READ: RANGE.size,
    TICKS: 8 * TICKS_A_MESSAGE,
    PICTURE: MAX_PICTURE,
    DONE: 64 << 10,
}


class ProtocolError(Exception):
    """The other side sent something that is no message of this protocol."""


def message(kind: bytes, payload: bytes) -> bytes:
    return HEADER.pack(kind, len(payload)) + payload


def json_message(kind: bytes, content: Mapping[str, Any]) -> bytes:
    return message(kind, json.dumps(content).encode())


def header(data: bytes) -> tuple[bytes, int]:
    """Kind and length of the payload that follows. Raises `ProtocolError`."""
    kind, length = HEADER.unpack(data)
    if length > LONGEST.get(kind, -1):
        raise ProtocolError(f"a message of kind {kind!r} and {length} bytes")
    return kind, length


def content(payload: bytes) -> dict[str, Any]:
    """The JSON object of a message. Raises `ProtocolError`."""
    try:
        found = json.loads(payload)
    except ValueError as error:
        raise ProtocolError("a message that is no JSON") from error
    if not isinstance(found, dict):
        raise ProtocolError("a message that is no JSON object")
    return found
