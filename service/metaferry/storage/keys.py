"""What stores with flat keys share: which keys a request can name, content types, ETags, ranges.

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

#: Bytes from which a body is passed to aiohttp as a stream: it writes `bytes` in one go, which blocks
#: the loop (and warns of that).
LARGE: Final = 1 << 20

#: An MD5, or the ETag of a multipart upload, with capitals.
_CAPITALS: Final = re.compile(r"(?=.*[A-F])[0-9A-Fa-f]{32}(?:-\d+)?")
#: Keys that need no quoting in a URL, as nearly all.
_UNQUOTED: Final = re.compile(r"[A-Za-z0-9_.~/-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def is_addressable(path: str) -> bool:
    """Whether a request can name exactly this key.

    HTTP clients and servers resolve `.` and `..` segments, so such a key would reach another
    object, or leave the bucket; an empty key is the bucket itself.
    """
    return bool(path) and not any(segment in (".", "..") for segment in path.split("/"))


def is_exact(key: str) -> bool:
    """Whether every client sends exactly this key: some drop slashes at the ends, or refuse characters."""
    segments = f"/{key}/"
    return (
        "//" not in segments
        and "/./" not in segments
        and "/../" not in segments
        and (key.isprintable() or _CONTROL.search(key) is None)
    )


def are_exact(keys: Iterable[str]) -> bool:
    """Whether `is_exact` holds for each of them (joined by a segment that is always exact)."""
    return is_exact("/ /".join(keys))


def limits_below(prefix: str, *, in_characters: bool = False) -> KeyLimits:
    """The limits of S3, Google Cloud Storage (1,024 bytes) and Azure (as many characters) below a prefix.

    Sources: their documentation of object names, object keys and blob names.
    """
    taken = len(prefix) if in_characters else len(prefix.encode())
    return KeyLimits(key=MAX_KEY - taken, in_characters=in_characters)


def is_marker(path: str, size: int) -> bool:
    """Whether an entry is a folder marker, as consoles and Hadoop create them."""
    return not path or (size == 0 and path.endswith("/"))


def content_type(path: str) -> str:
    """`application/json` for documents; otherwise by extension."""
    if path.endswith(".json"):
        return "application/json"
    return mimetypes.guess_type(path, strict=True)[0] or "application/octet-stream"


def entity_tag(header: str) -> str:
    """An ETag in the form in which it is a token: without quotes, and strong.

    Proxies that compress make a tag weak (RFC 9110, 8.8.1) or add `-gzip` to it, and some stores write
    their MD5s in capitals in some answers.
    """
    tag = header.strip()
    if tag[:2] in ("W/", "w/"):
        tag = tag[2:]
    tag = tag.strip('"')
    if tag.endswith("-gzip"):
        tag = tag.removesuffix("-gzip").removesuffix("-")
    return tag if tag.islower() or not _CAPITALS.fullmatch(tag) else tag.lower()


def md5_hex(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def byte_range(start: int, end: int | None) -> str | None:
    """The Range header for `[start, end)`, None for the whole object."""
    if end is None:
        return f"bytes={start}-" if start else None
    return f"bytes={start}-{end - 1}"


def whole_size(content_range: str | None) -> int | None:
    """The size of the object from `bytes 0-9/100`."""
    if content_range is None:
        return None
    size = content_range.rpartition("/")[2]
    return int(size) if size.isdecimal() else None


def quoted(key: str) -> str:
    """The key as a path in a URL, quoted as botocore and the Azure SDK do."""
    return key if _UNQUOTED.fullmatch(key) else quote(key, safe="/~")
