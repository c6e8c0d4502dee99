"""Builds requests to the JSON API of Google Cloud Storage and parses its answers.

No I/O, except that an access token is renewed when it is time to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from metaferry.errors import Corrupt, Denied, Unavailable
from metaferry.storage.answers import (
    BadAnswer,
    Refused,
    blob_of_range,
    require,
    require_empty,
    require_names,
)
from metaferry.storage.codes.gcs import HELD, PAYER_MISSING
from metaferry.storage.errors import Failure, retry_after
from metaferry.storage.facts.model import Described, ObjectFacts
from metaferry.storage.facts.texts import is_text, readable
from metaferry.storage.gcs.client import NOT_UNDERSTOOD, auth_failure, bound_to
from metaferry.storage.http.exchange import Answer, Request, header_lines
from metaferry.storage.http.requests import Stored, most_of
from metaferry.storage.keys import byte_range, is_marker, md5_hex
from metaferry.storage.protocol import ANYTHING, Blob, DescribedEntry, Entry, Page, Precondition

#: How the store words a hold, and a hash that does not match. Both hold what the request said, a name or
#: a hash, so each is known by how it begins and how it goes on.
_PAYS: Final = re.compile(r"\brequester pays bucket\b", re.I)
_HELD: Final = re.compile(r"Object '.*' is under active (?:temporary|event-based) hold\b", re.I | re.S)
_DIFFERENT: Final = re.compile(r"Provided (?:MD5 hash|CRC32C) .*doesn't match calculated", re.I | re.S)

#: What a listing is asked for. Without `kind`, one without objects would be `{}`, as anybody's may be.
FIELDS: Final = "kind,nextPageToken,items(name,size,generation,md5Hash,updated)"
#: The same with what an object is besides its bytes.
_FACTS: Final = "etag,contentType,storageClass,metadata"
FIELDS_WITH_FACTS: Final = FIELDS.removesuffix(")") + f",{_FACTS})"

#: Seconds for which the headers are used before the credentials are looked at again.
_VALID: Final = 1.0


class GcsRequests:
    """A `RequestBuilder`, and more requests for the adapter of gcsfs. The token is the generation.

    `fs` is gcsfs's file system: it gives address, credentials and the headers of a request, and google-auth
    renews the access token in time.
    """

    def __init__(self, fs: Any, bucket: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.bound_to = bound_to(fs)
        self._fs = fs
        self._bucket = bucket
        self._objects = fs._format_path(fs.base + "b/{}/o", [bucket])
        url = fs._format_path(f"{fs._location}/upload/storage/v1/b/{{}}/o", [bucket])
        self._upload = f"{url}?{urlencode(fs._get_params({'uploadType': 'multipart'}))}"
        self._clock = clock
        self._headers: list[str] = []
        self._until = float("-inf")

    def may_block(self) -> bool:
        return self._clock() >= self._until

    def listing(self, wanted: Mapping[str, str]) -> Request:
        return self._request("GET", self._objects, wanted)

    def put(self, key: str, data: bytes, kind: str, only_if: Precondition) -> Request:
        url = self._upload
        if only_if is not ANYTHING:
            url += f"&{urlencode(_condition(only_if))}"
        multipart_type, body = _multipart(key, kind, data)
        own = [f"Content-Type: {multipart_type}", "Accept-Encoding: identity"]
        return Request("POST", url, [*self._common(), *own], body)

    def read(self, key: str, start: int, end: int | None, version: str | None) -> Request:
        # Not `generation=`: a bucket with versions would still return a replaced object.
        pinned = {} if version is None else _condition(version)
        wanted = byte_range(start, end)
        # Otherwise objects stored with gzip arrive decompressed, and their ranges are wrong.
        own = ["Accept-Encoding: gzip"] if wanted is None else [f"Range: {wanted}", "Accept-Encoding: gzip"]
        request = self._request("GET", self._object(key), {"alt": "media", **pinned}, own)
        return request._replace(most=most_of(start, end))

    def describe(self, key: str, version: str | None) -> Request:
        """For `described`."""
        pinned = {} if version is None else _condition(version)
        return self._request("GET", self._object(key), {"fields": "kind,name,size,generation", **pinned})

    def facts(self, key: str) -> Request:
        """For `facts_in`."""
        return self._request("GET", self._object(key), {"fields": f"kind,name,generation,{_FACTS}"})

    def delete(self, key: str, only_if: Precondition = ANYTHING) -> Request:
        return self._request("DELETE", self._object(key), _condition(only_if))

    def _request(
        self,
        method: str,
        url: str,
        params: Mapping[str, str],
        own: Sequence[str] = ("Accept-Encoding: identity",),
    ) -> Request:
        query = urlencode(self._fs._get_params(dict(params)))
        return Request(method, f"{url}?{query}" if query else url, [*self._common(), *own])

    def _object(self, key: str) -> str:
        return str(self._fs._format_path(self._fs.base + "b/{}/o/{}", [self._bucket, key]))

    def _common(self) -> list[str]:
        """What all requests of a second say. Renews the access token when it is time to, which blocks."""
        from gcsfs.retry import HttpError, NonRetryableError
        from google.auth.exceptions import GoogleAuthError

        if self._clock() >= self._until:
            # Several threads may do so at once, with the same result.
            try:
                given = self._fs._get_headers({})
            except (GoogleAuthError, HttpError, NonRetryableError, *NOT_UNDERSTOOD) as error:
                raise Refused(auth_failure(error)) from None
            except OSError as error:
                raise Refused(Failure(code=type(error).__name__, kind=Unavailable)) from None
            try:
                self._headers = header_lines(given)
            except ValueError:
                raise Refused(Failure(code="InvalidOptions", kind=Denied)) from None
            self._until = self._clock() + _VALID
        return self._headers

    # -- answers

    @staticmethod
    def stored(answer: Answer, key: str, data: bytes) -> Stored:
        """Raises `Refused` where the store got other content."""
        resource = _resource(answer.body, "storage#object")
        require(resource.get("name") == key, "another object")
        found = resource.get("md5Hash")
        if found is not None and md5_of(found) != md5_hex(data):
            raise Refused(Failure(code="md5Hash", kind=Corrupt))
        require(int_of(resource, "size") == len(data), "another size")
        return Stored(str(int_of(resource, "generation")))

    @staticmethod
    def blob(answer: Answer, key: str, start: int, end: int | None) -> Blob:
        headers, data = answer.headers_of_part(token="x-goog-generation"), answer.body
        if answer.status == 200 and not _is_intact(headers, data):
            raise Refused(Failure(code="x-goog-hash", kind=Corrupt))
        token = headers.get("x-goog-generation", "")
        require(token, "no generation")
        stored = headers.get("x-goog-stored-content-length", str(len(data)))
        require(answer.status != 200 or stored == str(len(data)), "the wrong number of bytes")
        return blob_of_range(answer.status, headers, data, token, start, end)

    @staticmethod
    def described(answer: Answer, key: str) -> Blob:
        """Version and size of an object, without its bytes."""
        resource = _resource(answer.body, "storage#object")
        require(resource.get("name") == key, "another object")
        return Blob(b"", str(int_of(resource, "generation")), int_of(resource, "size"))

    @staticmethod
    def facts_in(answer: Answer, key: str) -> Described:
        """Raises `BadAnswer`."""
        resource = _resource(answer.body, "storage#object")
        require(resource.get("name") == key, "another object")
        return Described(str(int_of(resource, "generation")), facts_of(resource))

    @staticmethod
    def deleted(answer: Answer) -> None:
        require_empty(answer.status, answer.body)

    @staticmethod
    def failure(answer: Answer) -> Failure:
        return gcs_failure(answer.status, answer.headers, answer.body)


def _condition(only_if: Precondition) -> dict[str, str]:
    """The parameter of a request that says what has to be there."""
    if only_if is ANYTHING:
        return {}
    return {"ifGenerationMatch": only_if if isinstance(only_if, str) else "0"}


def _multipart(key: str, kind: str, data: bytes) -> tuple[str, bytes]:
    """Resource and content of an upload in one request, as RFC 2387 has it: content type and body.

    The content's own MD5 is the boundary: content that holds its own hash is nobody's accident. The
    store checks the content against it.
    """
    md5 = hashlib.md5(data, usedforsecurity=False)
    resource = {
        "name": key,
        "contentType": kind,
        "md5Hash": base64.b64encode(md5.digest()).decode(),
    }
    boundary = f"metaferry-{md5.hexdigest()}"
    body = b"".join(
        (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
            json.dumps(resource, ensure_ascii=False).encode(),
            f"\r\n--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode(),
            data,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )
    return f"multipart/related; boundary={boundary}", body


def _is_intact(headers: Mapping[str, str], data: bytes) -> bool:
    """Whether a whole object is what the store says: nothing else would notice a flipped byte."""
    for part in headers.get("x-goog-hash", "").split(","):
        name, _, value = part.strip().partition("=")
        if name == "md5" and md5_of(value) != md5_hex(data):
            return False
    return True


def page_of(body: bytes, wanted: str, skip: int, *, facts: bool = False) -> tuple[Page, list[str]]:
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
    if facts:
        entries = [DescribedEntry.of(each, facts_of(item)) for each, item in zip(entries, items, strict=True)]
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


def facts_of(item: Mapping[str, Any]) -> ObjectFacts:
    """Of an object's resource, where its facts were asked for. Raises `BadAnswer`."""
    texts = [item.get(name) for name in ("etag", "contentType", "storageClass")]
    given = item.get("metadata") or {}
    require(isinstance(given, dict), "metadata that is no object")
    metadata, unreadable = readable(given.items())
    etag, content_type, storage_class = (text if is_text(text) and text else None for text in texts)
    return ObjectFacts(etag, content_type, storage_class, metadata, None, unreadable)


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
