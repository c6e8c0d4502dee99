"""Reads user metadata and tags out of headers and answers, as text that a table can hold. Pure.

Headers carry ASCII. Text beyond it comes as RFC 2047 has it from S3 (its page on user-defined metadata), and
as bare UTF-8 from some stores with its API. A pair whose text cannot be told is left out and counted: half a
value would be a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Final
from xml.etree import ElementTree

from metaferry.storage.facts.model import ObjectFacts

#: How S3 tells that it left out values that no header can carry.
_MISSING: Final = "x-amz-missing-meta"
_ENCODED: Final = re.compile(r"=\?[!-~]+?\?[bqBQ]\?[^?]*\?=")
#: What no text of a table is: half of a surrogate pair, and NUL.
_NO_TEXT: Final = re.compile("[\ud800-\udfff\x00]")


def facts_of_headers(headers: Mapping[str, str], prefix: str, *, etag: str, class_header: str) -> ObjectFacts:
    """The facts in the headers of an object, whose names are in small letters.

    Pairs of user metadata are the headers that begin with `prefix`. `class_header` names the storage class.
    """
    pairs = [
        (header_text(name[len(prefix) :]), header_text(value))
        for name, value in headers.items()
        if name.startswith(prefix)
    ]
    metadata, unreadable = readable(pairs)
    missing = headers.get(_MISSING, "").strip()
    unreadable += int(missing[:9]) if missing.isascii() and missing.isdigit() else 0
    return ObjectFacts(
        etag or None,
        header_text(headers.get("content-type", "")) or None,
        headers.get(class_header) or None,
        metadata,
        None,
        unreadable,
    )


def header_text(value: str) -> str | None:
    """The text of a header, whose bytes were read as Latin-1 or as UTF-8; None where it cannot be told."""
    if not value.isascii():
        value = _beyond_ascii(value)
    if "=?" not in value or _ENCODED.search(value) is None:
        return value
    try:
        parts = decode_header(value)
        return "".join(
            part if isinstance(part, str) else part.decode(charset or "ascii") for part, charset in parts
        )
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        return None


def _beyond_ascii(value: str) -> str:
    """The text of bytes that are UTF-8, as HTTP libraries give them; else they are Latin-1."""
    try:
        raw = value.encode("latin-1")
    except UnicodeEncodeError:
        if _NO_TEXT.search(value) is None:
            return value  # it was read as UTF-8
        raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def readable(pairs: Iterable[tuple[object, object]]) -> tuple[dict[str, str], int]:
    """The pairs that are text, by name, in the order of names; and how many are not, or come twice."""
    found: dict[str, str] = {}
    unreadable = 0
    for name, value in pairs:
        if name and is_text(name) and is_text(value) and name not in found:
            found[str(name)] = str(value)
        else:
            unreadable += 1
    return dict(sorted(found.items())), unreadable


def is_text(value: object) -> bool:
    """Whether a table can hold this as text."""
    return isinstance(value, str) and _NO_TEXT.search(value) is None


def tags_of_xml(body: bytes) -> dict[str, str] | None:
    """The tags in an answer of S3 or Azure; None for what is no such answer."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        return None
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError):
        return None
    if _name(root) not in ("Tagging", "Tags"):
        return None
    found: dict[str, str] = {}
    for tag in root.iter():
        if _name(tag) != "Tag":
            continue
        pair = {_name(each): each.text or "" for each in tag}
        if "Key" not in pair or "Value" not in pair:
            return None
        found[pair["Key"]] = pair["Value"]
    return dict(sorted(found.items()))


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
