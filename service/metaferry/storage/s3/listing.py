"""Pages of an S3 listing, read in a twentieth of the time that botocore takes for them.

botocore turns each field of each key into Python through its model of the service, which is nearly
all a listing costs. Here the four fields that are used are taken out of the text by regular
expressions, which hold for the plain form that servers send: elements without attributes, texts
without markup, the known references. As a rule all keys of a page have the same fields in the same
order, and one expression takes the whole page apart. botocore gets the page without its keys and
does the rest. Whatever has any other form is left to botocore untouched, so there is nothing that
only this reads. Keys are exact: the store sends them URL-encoded, so no character is lost to XML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_plus

#: Where a page's keys are found in botocore's answer; no name of the service begins like this.
LISTED: Final = "MetaferryListed"


class Listed(NamedTuple):
    """The keys of a page as columns of one length: names as the store has them, bytes, tags without
    their quotes ("" where there is none), seconds since 1970."""

    keys: list[str]
    sizes: list[int]
    tags: list[str]
    mtimes: list[float]


#: What stands before the first key: the root, and elements with nothing but text.
_HEAD: Final = re.compile(
    r"(?:<\?xml[^?<>]*\?>)?\s*<ListBucketResult(?: xmlns=\"[^\"<>&]*\")?>\s*"
    r"(?:<(\w+)>[^<]*</\1>\s*|<\w+ ?/>\s*)*"
)
#: The fields of one key: any elements in any order, with texts, or with such elements one level down.
_FIELDS: Final = re.compile(
    r"<Contents>(?:\s*(?:"
    r"<(Size)>\d+</Size>"
    r"|<(\w+)>(?:[^<]*|\s*(?:<(\w+)>[^<]*</\3>\s*|<\w+ ?/>\s*)*)</\2>"
    r"|<\w+ ?/>"
    r"))*\s*</Contents>\s*"
)
_TAG: Final = re.compile(r"<[^>]*>")
_EACH: Final = re.compile("(?=<Contents>)")
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

    They are found as a `Listed` under `LISTED` in what botocore returns, unless the page was
    left to it; then there are `Contents` as ever, or an error.
    """
    if operation_model.name != "ListObjectsV2" or response_dict["status_code"] != 200:
        return
    page = read_page(response_dict["body"])
    if page is not None:
        customized_response_dict[LISTED], response_dict["body"] = page


def read_page(body: bytes) -> tuple[Listed, bytes] | None:
    """The keys of a page and the page without them, or None where botocore is to read it."""
    if body.translate(None, _STRANGE) != body or any(mark in body for mark in (b"<!", b"]]>")):
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    if "\ufffe" in text or "\uffff" in text or not _only_known_references(text):
        return None
    head, opening, contents = text.partition("<Contents>")
    contents, closing, tail = contents.rpartition("</Contents>")
    if not closing or _HEAD.fullmatch(head) is None:
        return None
    rest = head + tail
    encoded = _ENCODED in rest
    if "Contents" in rest or "<?" in rest[1:] or encoded != ("EncodingType" in rest):
        return None
    if any(f"<{name}>" in rest for name in _WANTED):
        return None
    try:
        return _entries(opening + contents + closing, encoded=encoded), rest.encode()
    except _NotPlain:
        return None


class _NotPlain(Exception):
    """A key with fields of another form."""


def _entries(contents: str, *, encoded: bool) -> Listed:
    """The keys in order. Raises `_NotPlain`."""
    keys, sizes, modified, tags = _columns(contents)
    try:
        instants = [datetime.fromisoformat(instant) for instant in modified]
    except ValueError:
        raise _NotPlain from None
    if any(instant.tzinfo is None for instant in instants):
        raise _NotPlain
    return Listed(
        _changed(keys, _decoded if encoded else _resolved),
        list(map(int, sizes)),
        [tag.strip('"') for tag in _changed(tags, _resolved)],
        [instant.timestamp() for instant in instants],
    )


def _columns(contents: str) -> Sequence[Sequence[str]]:
    """What is taken, by field, as the page spells it; a tag that is missing is empty."""
    first, closing, _ = contents.partition("</Contents>")
    shape = _shape(first + closing)
    parts = shape.split(contents)
    group, width = shape.groupindex, shape.groups + 1
    if not any(parts[::width]):  # nothing is left between them: they all have this shape
        missing = [""] * (len(parts) // width)
        return [parts[group[name] :: width] if name in group else missing for name in _WANTED]
    rows = []
    for piece in _EACH.split(contents)[1:]:
        found = shape.fullmatch(piece)
        if found is None:  # other fields than the key before it
            shape = _shape(piece)
            found = shape.fullmatch(piece)
            if found is None:
                raise _NotPlain
        fields = found.groupdict("")
        rows.append([fields.get(name, "") for name in _WANTED])
    return list(zip(*rows, strict=True))


def _shape(piece: str) -> re.Pattern[str]:
    """What matches keys with just these fields in this order. Raises `_NotPlain`."""
    if _FIELDS.fullmatch(piece) is None:
        raise _NotPlain
    expression, fields = "", []
    for tag in _TAG.findall(piece):
        name = tag.strip("<>")
        expression += re.escape(tag) + (f"(?P<{name}>{_WANTED[name]})" if name in _WANTED else "[^<]*")
        fields += [name] if name in _WANTED else []
    if len(fields) != len(set(fields)) or not {"Key", "Size", "LastModified"} <= set(fields):
        raise _NotPlain
    return re.compile(expression)


def _changed(texts: Sequence[str], change: Callable[[str], str]) -> list[str]:
    """`change` of each text, made of all at once unless one of them has, or gets, a line end."""
    lines = change("\n".join(texts)).split("\n")
    return lines if len(lines) == len(texts) else [change(text) for text in texts]


def _decoded(text: str) -> str:
    """What botocore makes of an encoded key. Slashes first: most keys have nothing else to decode."""
    return unquote_plus(_resolved(text).replace("%2F", "/"))


def _only_known_references(text: str) -> bool:
    marks = text.count("&")
    return marks == text.count("&quot;") or marks == len(_REFERENCE.findall(text))


def _resolved(text: str) -> str:
    text = text.replace("&quot;", '"')
    return _REFERENCE.sub(lambda reference: _MEANING[reference[0]], text) if "&" in text else text
