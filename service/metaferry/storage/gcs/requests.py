"""Builds requests to the JSON API of Google Cloud Storage and parses its answers. Pure functions."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from metaferry.errors import Corrupt
from metaferry.storage.answers import BadAnswer, require, require_names, size_of_part
from metaferry.storage.codes.gcs import HELD, PAYER_MISSING
from metaferry.storage.errors import Failure, retry_after
from metaferry.storage.keys import is_marker, md5_hex
from metaferry.storage.protocol import ANYTHING, Blob, Entry, Page, Precondition

#: How the store words a hold, and a hash that does not match. Both hold what the request said, a name or
#: a hash, so each is known by how it begins and how it goes on.
_PAYS: Final = re.compile(r"\brequester pays bucket\b", re.I)
_HELD: Final = re.compile(r"Object '.*' is under active (?:temporary|event-based) hold\b", re.I | re.S)
_DIFFERENT: Final = re.compile(r"Provided (?:MD5 hash|CRC32C) .*doesn't match calculated", re.I | re.S)

#: What a listing is asked for. Without `kind`, one without objects would be `{}`, as anybody's may be.
FIELDS: Final = "kind,nextPageToken,items(name,size,generation,md5Hash,updated)"


def condition(only_if: Precondition) -> dict[str, str]:
    """The parameter of a request that says what has to be there."""
    if only_if is ANYTHING:
        return {}
    return {"ifGenerationMatch": only_if if isinstance(only_if, str) else "0"}


def multipart(key: str, kind: str, data: bytes, md5: str) -> tuple[dict[str, str], bytes]:
    """Resource and content of an upload in one request, as RFC 2387 has it: headers and body.

    The content's own MD5 is the boundary: content that holds its own hash is nobody's accident. The
    store checks the content against it.
    """
    resource = {
        "name": key,
        "contentType": kind,
        "md5Hash": base64.b64encode(bytes.fromhex(md5)).decode(),
    }
    boundary = f"metaferry-{md5}".encode()
    body = b"".join(
        (
            b"--" + boundary + b"\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n",
            json.dumps(resource, ensure_ascii=False).encode(),
            b"\r\n--" + boundary + b"\r\nContent-Type: ",
            kind.encode(),
            b"\r\n\r\n",
            data,
            b"\r\n--" + boundary + b"--\r\n",
        )
    )
    return {"Content-Type": f"multipart/related; boundary={boundary.decode()}"}, body


def stored(body: bytes, key: str, data: bytes, md5: str) -> tuple[str, bool]:
    """Generation out of the answer to an upload, and whether it is of content with this MD5.

    Raises `BadAnswer` for what is no such answer.
    """
    resource = _resource(body, "storage#object")
    require(resource.get("name") == key, "another object")
    found = resource.get("md5Hash")
    same = found is None or md5_of(found) == md5
    require(not same or int_of(resource, "size") == len(data), "another size")
    return str(int_of(resource, "generation")), same


def blob_of(status: int, headers: Mapping[str, str], data: bytes, start: int, end: int | None) -> Blob:
    """Out of the answer to a media download of `[start, end)`; names of headers in small letters, or in any
    where the mapping knows none. Raises `BadAnswer`."""
    token = headers.get("x-goog-generation", "")
    require(token, "no generation")
    if status == 206:
        return Blob(data, token, size_of_part(headers.get("content-range"), start, end))
    require(status == 200, "an unexpected status")
    stored = headers.get("x-goog-stored-content-length", str(len(data)))
    require(stored == str(len(data)), "the wrong number of bytes")
    return Blob(data[start:end], token, len(data))


def is_intact(headers: Mapping[str, str], data: bytes) -> bool:
    """Whether a whole object is what the store says: nothing else would notice a flipped byte."""
    for part in headers.get("x-goog-hash", "").split(","):
        name, _, value = part.strip().partition("=")
        if name == "md5" and md5_of(value) != md5_hex(data):
            return False
    return True


def described(body: bytes, key: str) -> tuple[str, int]:
    """Generation and size out of an object's description. Raises `BadAnswer`."""
    resource = _resource(body, "storage#object")
    require(resource.get("name") == key, "another object")
    return str(int_of(resource, "generation")), int_of(resource, "size")


def page_of(body: bytes, wanted: str, skip: int) -> tuple[Page, list[str]]:
    """A page of the objects whose names begin with `wanted`, and its folders; a path is a name without its
    first `skip` characters. Raises `BadAnswer`."""
    content = _resource(body, "storage#objects")
    items, prefixes = content.get("items", []), content.get("prefixes", [])
    require(isinstance(items, list) and isinstance(prefixes, list), "no listing")
    require(all(isinstance(item, dict) for item in items), "an entry that is not an object")
    names = [item.get("name") for item in items]
    for text in (*names, *prefixes):
        require(isinstance(text, str), "an entry without a name")
    require_names(names, wanted)
    require_names(prefixes, wanted)
    entries = [entry(name[skip:], item) for name, item in zip(names, items, strict=True)]
    kept = [each for each in entries if not is_marker(each.path, each.size)]
    token = content.get("nextPageToken")
    # The last page has no token at all; one that is empty would end a listing that goes on.
    require(token is None or (isinstance(token, str) and token), "an empty nextPageToken")
    return Page(kept, token, len(entries) - len(kept)), [prefix[skip:] for prefix in prefixes]


def entry(path: str, item: Mapping[str, Any]) -> Entry:
    """Of an item of a listing. Raises `BadAnswer`. (Called once for each object, so in few steps.)"""
    try:
        encoded = item.get("md5Hash")  # composites have none
        md5 = md5_of(encoded) if encoded else None
        generation, size = item["generation"], int(item["size"])
        updated = datetime.fromisoformat(item["updated"]).timestamp()
        if int(generation) < 0 or (md5 is not None and len(md5) != 32):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BadAnswer("an entry without size, generation, MD5 or time") from None
    return Entry(path, size, str(generation), md5, updated)


def int_of(resource: Mapping[str, Any], name: str) -> int:
    """A number, as the store spells it. Raises `BadAnswer` where there is none."""
    text = str(resource.get(name, ""))
    require(text.isascii() and text.isdigit(), f"no {name}")
    return int(text)


def _resource(body: bytes, kind: str) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        raise BadAnswer("no JSON") from None
    require(isinstance(content, dict) and content.get("kind") == kind, f"no {kind}")
    found: dict[str, Any] = content
    return found


def md5_of(encoded: str) -> str:
    """In hex, as the store says it in base64; "" for what is none."""
    try:
        return base64.b64decode(encoded).hex()
    except (binascii.Error, ValueError):
        return ""


def gcs_failure(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Status and reason of an answer of the JSON API; its text only tells what is missing."""
    code, text = "", body.decode(errors="replace")
    try:
        error = json.loads(body)["error"]
        text = str(error.get("message", ""))
        code = str(error["errors"][0]["reason"])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        pass  # a media download answers in plain text, a proxy in HTML
    if status == 403 and _HELD.match(text):
        code = HELD  # the reason is only `forbidden`
    if status == 400 and _PAYS.search(text):
        code = PAYER_MISSING  # the reason is only `required`
    return Failure(
        status,
        code,
        retry_after=retry_after(headers),
        bucket=status == 404 and "bucket" in text and "object" not in text.lower(),
        # The hash that went with the content does not match it; the reason is only `invalid`.
        kind=Corrupt if status == 400 and _DIFFERENT.match(text) else None,
    )
