"""Parses pages of an S3 listing in a twentieth of the time that botocore takes.

botocore converts each field of each key through its model of the service, which is nearly all of the cost
of a listing. Here the four fields that are used are extracted by regular expressions, which match the
simple form that servers send: elements without attributes, texts without markup, known references. Usually
all keys of a page have the same fields in the same order, and one expression parses the whole page.
botocore gets the page without its keys and parses the rest. A page of any other form is left to botocore
unchanged, so nothing depends on this parser. Keys are exact: the store sends them URL-encoded, so no
character is lost to XML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_plus

#: The key in botocore's answer for the keys of a page; no name of the service begins like this.
LISTED: Final = "MetaferryListed"


class Listed(NamedTuple):
    """The keys of a page as columns of equal length: keys as the store has them, bytes, ETags without
    quotes ("" where there is none), seconds since 1970; storage classes ("" where there is none), if they
    were wanted."""

    keys: list[str]
    sizes: list[int]
    tags: list[str]
    mtimes: list[float]
    classes: list[str] | None = None


#: The text before the first key: the root, and elements that contain only text.
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
#: The fields that are extracted, in this order; the ETag may be missing.
_WANTED: Final = {"Key": "[^<]*", "Size": r"\d+", "LastModified": "[^<]*", "ETag": "[^<]*"}
#: The same with one that is extracted on demand.
_WITH_CLASS: Final = {**_WANTED, "StorageClass": "[^<]*"}
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
#: Bytes that XML forbids, or converts.
_STRANGE: Final = bytes({*range(32)} - {9, 10})


def take_keys(
    operation_model: Any,
    response_dict: dict[str, Any],
    customized_response_dict: dict[str, Any],
    classes: Callable[[], bool] = lambda: False,
    **_: Any,
) -> None:
    """Handles botocore's `before-parse.s3.*`: takes the keys out of the answer to a `ListObjectsV2`, with
    their storage classes where `classes()`.

    botocore's answer has them as a `Listed` under `LISTED`, or as `Contents` where the page was left to
    botocore.
    """
    if operation_model.name != "ListObjectsV2" or response_dict["status_code"] != 200:
        return
    page = read_page(response_dict["body"], classes=classes())
    if page is not None:
        customized_response_dict[LISTED], response_dict["body"] = page


def read_page(body: bytes, *, classes: bool = False) -> tuple[Listed, bytes] | None:
    """The keys of a page and the page without them, or None where botocore has to parse it."""
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
    wanted = _WITH_CLASS if classes else _WANTED
    if any(f"<{name}>" in rest for name in wanted):
        return None
    try:
        return _entries(opening + contents + closing, wanted, encoded=encoded), rest.encode()
    except _NotPlain:
        return None


class _NotPlain(Exception):
    """A key with fields of another form."""


def _entries(contents: str, wanted: Mapping[str, str], *, encoded: bool) -> Listed:
    """The keys in order. Raises `_NotPlain`."""
    keys, sizes, modified, tags, *classes = _columns(contents, wanted)
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
        _changed(classes[0], _resolved) if classes else None,
    )


def _columns(contents: str, wanted: Mapping[str, str]) -> Sequence[Sequence[str]]:
    """The extracted fields as columns, as the page has them; a missing ETag or class is empty."""
    first, closing, _ = contents.partition("</Contents>")
    shape = _shape(first + closing, wanted)
    parts = shape.split(contents)
    group, width = shape.groupindex, shape.groups + 1
    if not any(parts[::width]):  # nothing between the matches: all keys have this shape
        missing = [""] * (len(parts) // width)
        return [parts[group[name] :: width] if name in group else missing for name in wanted]
    rows = []
    for piece in _EACH.split(contents)[1:]:
        found = shape.fullmatch(piece)
        if found is None:  # other fields than the key before it
            shape = _shape(piece, wanted)
            found = shape.fullmatch(piece)
            if found is None:
                raise _NotPlain
        fields = found.groupdict("")
        rows.append([fields.get(name, "") for name in wanted])
    return list(zip(*rows, strict=True))


def _shape(piece: str, wanted: Mapping[str, str]) -> re.Pattern[str]:
    """A pattern for keys with exactly these fields in this order. Raises `_NotPlain`."""
    if _FIELDS.fullmatch(piece) is None:
        raise _NotPlain
    expression, fields = "", []
    for tag in _TAG.findall(piece):
        name = tag.strip("<>")
        expression += re.escape(tag) + (f"(?P<{name}>{wanted[name]})" if name in wanted else "[^<]*")
        fields += [name] if name in wanted else []
    if len(fields) != len(set(fields)) or not {"Key", "Size", "LastModified"} <= set(fields):
        raise _NotPlain
    return re.compile(expression)


def _changed(texts: Sequence[str], change: Callable[[str], str]) -> list[str]:
    """`change` of each text, applied to all joined by line ends unless a text contains one."""
    lines = change("\n".join(texts)).split("\n")
    return lines if len(lines) == len(texts) else [change(text) for text in texts]


def _decoded(text: str) -> str:
    """A URL-encoded key, decoded as botocore does. Slashes first: most keys need nothing else."""
    return unquote_plus(_resolved(text).replace("%2F", "/"))


def _only_known_references(text: str) -> bool:
    marks = text.count("&")
    return marks == text.count("&quot;") or marks == len(_REFERENCE.findall(text))


def _resolved(text: str) -> str:
    text = text.replace("&quot;", '"')
    return _REFERENCE.sub(lambda reference: _MEANING[reference[0]], text) if "&" in text else text
