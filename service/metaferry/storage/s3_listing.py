"""Pages of an S3 listing, read in a tenth of the time that botocore takes for them.

botocore turns each field of each key into Python through its model of the service, which is nearly
all a listing costs. Here the four fields that are used are taken out of the text by regular
expressions, which hold for the plain form that servers send: elements without attributes, texts
without markup, the known references. botocore gets the page without its keys and does the rest.
Whatever has any other form is left to botocore untouched, so there is nothing that only this reads.
Keys are exact: the store sends them URL-encoded, so no character is lost to XML.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_plus

#: Where a page's keys are found in botocore's answer; no name of the service begins like this.
LISTED: Final = "MetaferryListed"


class Listed(NamedTuple):
    """One key of a page: as the store names it, bytes, the tag without its quotes, seconds since 1970."""

    key: str
    size: int
    tag: str
    mtime: float


#: What stands before the first key: the root, and elements with nothing but text.
_HEAD: Final = re.compile(
    r"(?:<\?xml[^?<>]*\?>)?\s*<ListBucketResult(?: xmlns=\"[^\"<>&]*\")?>\s*"
    r"(?:<(\w+)>[^<]*</\1>\s*|<\w+ ?/>\s*)*"
)
#: The fields of one key: any elements in any order, with texts, or with such elements one level down.
_FIELDS: Final = re.compile(
    r"(?:\s*(?:"
    r"<(Size)>\d+</Size>"
    r"|<(\w+)>(?:[^<]*|\s*(?:<(\w+)>[^<]*</\3>\s*|<\w+ ?/>\s*)*)</\2>"
    r"|<\w+ ?/>"
    r"))*\s*</Contents>\s*"
)
_TAG: Final = re.compile(r"<[^>]*>")
#: What is taken, in this order; the tag may be missing.
_WANTED: Final = {"Key": "[^<]*", "Size": r"\d+", "LastModified": "[^<]*", "ETag": "[^<]*"}
_ENCODED: Final = "<EncodingType>url</EncodingType>"
_REFERENCE: Final = re.compile(r"&(?:amp|lt|gt|quot|apos|#34|#39|#38|#60|#62|#43);")
_MEANING: Final = {
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
    "&quot;": '"',
    "&apos;": "'",
    "&#34;": '"',
    "&#39;": "'",
    "&#38;": "&",
    "&#60;": "<",
    "&#62;": ">",
    "&#43;": "+",
}
#: Bytes that XML forbids, or reads as another one.
_STRANGE: Final = bytes({*range(32)} - {9, 10})


def take_keys(
    operation_model: Any, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Handles botocore's `before-parse.s3.*`: takes the keys out of the answer to a `ListObjectsV2`.

    They are found as a list of `Listed` under `LISTED` in what botocore returns, unless the page was
    left to it; then there are `Contents` as ever, or an error.
    """
    if operation_model.name != "ListObjectsV2" or response_dict["status_code"] != 200:
        return
    page = read_page(response_dict["body"])
    if page is not None:
        customized_response_dict[LISTED], response_dict["body"] = page


def read_page(body: bytes) -> tuple[list[Listed], bytes] | None:
    """The keys of a page and the page without them, or None where botocore is to read it."""
    if body.translate(None, _STRANGE) != body or any(mark in body for mark in (b"<!", b"]]>")):
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    if "\ufffe" in text or "\uffff" in text or text.count("&") != len(_REFERENCE.findall(text)):
        return None
    head, *pieces = text.split("<Contents>")
    if not pieces or _HEAD.fullmatch(head) is None:
        return None
    last, end, tail = pieces[-1].rpartition("</Contents>")
    pieces[-1] = last + end
    rest = head + tail
    encoded = _ENCODED in rest
    if "Contents" in rest or "<?" in rest[1:] or encoded != ("EncodingType" in rest):
        return None
    # What is there once for each key, and as often as there are keys, is there exactly once for each.
    if any(text.count(name) != len(pieces) for name in ("<Key>", "<Size>", "<LastModified>")):
        return None
    try:
        listed, tags = _entries(pieces, encoded=encoded)
    except _NotPlain:
        return None
    if tags != text.count("<ETag>"):
        return None
    return listed, rest.encode()


class _NotPlain(Exception):
    """A key with fields of another form."""


def _entries(pieces: list[str], *, encoded: bool) -> tuple[list[Listed], int]:
    """The keys, and how many of them have a tag. Raises `_NotPlain`."""
    listed, tags = [], 0
    shape, fields = re.compile("(?!)"), tuple(_WANTED)
    for piece in pieces:
        found = shape.fullmatch(piece)
        if found is None:  # other fields than the key before it, or the first one
            shape, fields = _shape(piece)
            found = shape.fullmatch(piece)
            if found is None:
                raise _NotPlain
        key, size, modified, *more = found.group(*fields)
        try:
            moment = datetime.fromisoformat(modified)
        except ValueError:
            raise _NotPlain from None
        if moment.tzinfo is None:
            raise _NotPlain
        if "&" in key:
            key = _REFERENCE.sub(_meaning, key)
        if encoded and ("%" in key or "+" in key):
            key = unquote_plus(key)  # as botocore does
        tag = ""
        if more:
            tags += 1
            tag = more[0].replace("&quot;", '"')
            if "&" in tag:
                tag = _REFERENCE.sub(_meaning, tag)
        listed.append(Listed(key, int(size), tag.strip('"'), moment.timestamp()))
    return listed, tags


def _shape(piece: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """What matches keys with just these fields in this order, and its groups. Raises `_NotPlain`."""
    if _FIELDS.fullmatch(piece) is None:
        raise _NotPlain
    parts, fields = ["[^<]*"], []
    for tag in _TAG.findall(piece):
        name = tag.strip("<>")
        parts.append(re.escape(tag))
        parts.append(f"(?P<{name}>{_WANTED[name]})" if name in _WANTED else "[^<]*")
        fields += [name] if name in _WANTED else []
    if len(fields) != len(set(fields)) or not {"Key", "Size", "LastModified"} <= set(fields):
        raise _NotPlain
    return re.compile("".join(parts)), tuple(name for name in _WANTED if name in fields)


def _meaning(reference: re.Match[str]) -> str:
    return _MEANING[reference[0]]
