"""What all stores with flat keys share: which keys are safe to name in a request, and what a put says.

Pure functions. Nothing here knows a client.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from metaferry.lightly.key_limits import KeyLimits

#: The longest key of S3 and Google Cloud Storage, in bytes, and of Azure, in characters.
MAX_KEY: Final = 1024

#: Bytes from which a body is handed to aiohttp as a stream: it writes plain bytes in one go, which
#: holds up everything else on the loop (and it warns of that).
LARGE: Final = 1 << 20

#: An MD5 that is not in small letters throughout, or that of an upload in parts.
_CAPITALS: Final = re.compile(r"(?=.*[A-F])[0-9A-Fa-f]{32}(?:-\d+)?")
#: Keys that are the same in a URL: looked for first, since nearly all are.
_AS_IT_IS: Final = re.compile(r"[A-Za-z0-9_.~/-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def is_addressable(path: str) -> bool:
    """Whether a request can name exactly this key.

    HTTP clients and servers resolve `.` and `..` segments, so such a key would reach another
    object, or leave the bucket; an empty key is the bucket itself.
    """
    return bool(path) and not any(segment in (".", "..") for segment in path.split("/"))


def is_exact(key: str) -> bool:
    """Whether every client names exactly this key: some drop slashes at the ends and refuse some others."""
    segments = f"/{key}/"
    return (
        "//" not in segments
        and "/./" not in segments
        and "/../" not in segments
        and (key.isprintable() or _CONTROL.search(key) is None)
    )


def are_exact(keys: Iterable[str]) -> bool:
    """Whether each of them is: between slashes, a blank makes no segment that is refused."""
    return is_exact("/ /".join(keys))


def limits_below(prefix: str, *, in_characters: bool = False) -> KeyLimits:
    """The limits of S3, Google Cloud Storage (1,024 bytes) and Azure (as many characters) below a prefix.

    Sources: their documentation of object names, object keys and blob names.
    """
    taken = len(prefix) if in_characters else len(prefix.encode())
    return KeyLimits(key=MAX_KEY - taken, in_characters=in_characters)


def is_marker(path: str, size: int) -> bool:
    """Whether an entry only marks a folder, as consoles and Hadoop leave them."""
    return not path or (size == 0 and path.endswith("/"))


def content_type(path: str) -> str:
    """`application/json` for documents; otherwise by extension."""
    if path.endswith(".json"):
        return "application/json"
    return mimetypes.guess_type(path, strict=True)[0] or "application/octet-stream"


def entity_tag(header: str) -> str:
    """An ETag in the one form in which it is a token: without quotes, as strong.

    Proxies that compress call a tag weak (RFC 9110, 8.8.1) or add `-gzip` to it, and some stores write
    their MD5s in capitals, though not everywhere.
    """
    tag = header.strip()
    if tag[:2] in ("W/", "w/"):
        tag = tag[2:]
    tag = tag.strip('"')
    if tag.endswith("-gzip"):
        tag = tag.removesuffix("-gzip").removesuffix("-")
    return tag.lower() if _CAPITALS.fullmatch(tag) else tag


def md5_hex(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def byte_range(start: int, end: int | None) -> str | None:
    """The Range header of `[start, end)`, None where the whole object is meant."""
    if end is None:
        return f"bytes={start}-" if start else None
    return f"bytes={start}-{end - 1}"


def whole_size(content_range: str | None) -> int | None:
    """The size of the object out of `bytes 0-9/100`."""
    if content_range is None:
        return None
    size = content_range.rpartition("/")[2]
    return int(size) if size.isdigit() else None


def is_complete(received: int, start: int, end: int | None, size: int) -> bool:
    """Whether an answer has as many bytes as were asked for of an object of `size`."""
    return received == max(0, (size if end is None else min(end, size)) - start)


def quoted(key: str) -> str:
    """The key as a path in a URL, as botocore and the Azure SDK spell it."""
    return key if _AS_IT_IS.fullmatch(key) else quote(key, safe="/~")
