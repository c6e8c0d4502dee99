"""What requests to the JSON API of Google Cloud Storage say, and what its answers mean. Pure functions."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from metaferry.errors import Corrupt
from metaferry.storage.contract import ANYTHING, Entry, Precondition
from metaferry.storage.gcs_codes import HELD, PAYER_MISSING
from metaferry.storage.translate import Failure, retry_after

#: How the store words a hold, and a hash that does not match. Both hold what the request said, a name or
#: a hash, so each is known by how it begins and how it goes on.
_PAYS: Final = re.compile(r"\brequester pays bucket\b", re.I)
_HELD: Final = re.compile(r"Object '.*' is under active (?:temporary|event-based) hold\b", re.I | re.S)
_DIFFERENT: Final = re.compile(r"Provided (?:MD5 hash|CRC32C) .*doesn't match calculated", re.I | re.S)

#: What a listing is asked for.
FIELDS: Final = "nextPageToken,items(name,size,generation,md5Hash,updated)"


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
    mark = f"metaferry-{md5}".encode()
    body = b"".join(
        (
            b"--" + mark + b"\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n",
            json.dumps(resource, ensure_ascii=False).encode(),
            b"\r\n--" + mark + b"\r\nContent-Type: ",
            kind.encode(),
            b"\r\n\r\n",
            data,
            b"\r\n--" + mark + b"--\r\n",
        )
    )
    return {"Content-Type": f"multipart/related; boundary={mark.decode()}"}, body


def stored(body: bytes, md5: str) -> tuple[str, bool]:
    """Generation out of the answer to an upload, and whether it is of content with this MD5.

    Raises AttributeError, KeyError, TypeError or ValueError for what is no such answer.
    """
    resource = json.loads(body)
    found = resource.get("md5Hash")
    return str(resource["generation"]), found is None or md5_of(found) == md5


def entry(path: str, item: Mapping[str, Any]) -> Entry:
    """Of an item of a listing."""
    md5 = md5_of(item["md5Hash"]) if "md5Hash" in item else None  # composites have none
    updated = datetime.fromisoformat(item["updated"]).timestamp()
    return Entry(path, int(item["size"]), str(item["generation"]), md5, updated)


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
