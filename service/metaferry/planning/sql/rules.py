"""The format's rules as SQL text, for planning over more rows than Python could look at.

Every function here answers SQL; nothing is executed. The rules are those of `lightly/`: literals
and tables are generated from it, and the rest is held byte-equal to it by property tests, over all
types of the engine and names and values chosen to hurt. An argument called `expr` is SQL that is
put in as it stands, possibly several times: a column, not a computation. Results do not depend on
the settings of the connection, time zone included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from metaferry.lightly.document import json_string
from metaferry.lightly.key_limits import KeyLimits
from metaferry.lightly.key_paths import overlapping
from metaferry.lightly.names import (
    DOCUMENTS,
    IMAGE_EXTENSIONS,
    MAX_DIGITS,
    RESERVED,
    VIDEO_EXTENSIONS,
    Kind,
)
from metaferry.planning.sql.canonical_json import (
    instead_of_not_finite,
    json_value,
    not_finite,
    observed,
    storable,
)
from metaferry.planning.sql.casts import Cast, cast_value
from metaferry.planning.sql.nested import cast_within
from metaferry.planning.sql.text import NULL_TEXT, escape_json, members, quote_ident, quote_text

__all__ = [
    "Cast",
    "body",
    "cast_value",
    "cast_within",
    "clean_name",
    "document_path",
    "escape_json",
    "frame_document_path",
    "frame_file_name",
    "hostile_reason",
    "instead_of_not_finite",
    "json_value",
    "media_kind",
    "not_finite",
    "observed",
    "parse_frame",
    "quote_ident",
    "quote_text",
    "storable",
    "too_long",
]


def media_kind(expr: str) -> str:
    """`names.media_kind`: 'video', 'image' or NULL."""
    reserved = _reserved(expr)
    kinds = " ".join(
        rf"WHEN regexp_matches({expr}, '[^/]\.({_any_case(extensions)})$') THEN '{kind}'"
        for kind, extensions in ((Kind.VIDEO, VIDEO_EXTENSIONS), (Kind.IMAGE, IMAGE_EXTENSIONS))
    )
    return f"CASE WHEN {reserved} THEN NULL {kinds} END"


def document_path(expr: str) -> str:
    """`names.document_path` of a path that is known to be media."""
    return f"({quote_text(DOCUMENTS)} || regexp_replace({expr}, '\\.[^./]*$', '.json'))"


def frame_document_path(video: str, index: str, digits: str) -> str:
    """`names.frame_document_path` of a path that is known to be a video; NULL where it raises."""
    return f"({quote_text(DOCUMENTS)} || {_frame_stem(video, index, digits)} || '.json')"


def frame_file_name(video: str, index: str, digits: str) -> str:
    """`names.frame_file_name` of a path that is known to be a video; NULL where it raises."""
    return f"({_frame_stem(video, index, digits)} || '.png')"


def parse_frame(expr: str) -> tuple[str, str, str]:
    """`names.parse_frame_document`: video (VARCHAR), index and digits (BIGINT); all NULL for None."""
    reserved = _reserved(f"substr({expr}, {len(DOCUMENTS) + 1})")
    tail = rf"-([0-9]{{1,{MAX_DIGITS}}})-({_any_case(VIDEO_EXTENSIONS)})\.json$"
    whole = rf"(?s)^{re.escape(DOCUMENTS)}(.*[^/]){tail}"
    # A look at the tail alone is ten times as fast, and most names are no frame's. The call below is
    # the same text three times, which the engine evaluates once.
    parts = (
        f"regexp_extract(CASE WHEN {reserved} OR NOT regexp_matches({expr}, '{tail}') THEN '' "
        f"ELSE {expr} END, '{whole}', ['stem', 'written', 'extension'])"
    )
    written = f"struct_extract({parts}, 'written')"
    return (
        f"nullif(struct_extract({parts}, 'stem') || '.' || struct_extract({parts}, 'extension'), '.')",
        f"TRY_CAST(nullif({written}, '') AS BIGINT)",
        f"nullif(length({written}), 0)",
    )


def clean_name(expr: str) -> str:
    """`names.clean_record_name` without its refusals: those are `hostile_reason` of the result."""
    return f"regexp_replace({expr}, '^(\\./|/)+', '')"


def hostile_reason(expr: str) -> str:
    """`names.hostile`; NULL where the name is fine. (Text in the engine holds no lone surrogates.)"""
    control = r"[\x00-\x1f\x7f-\x{9f}]"
    return (
        # One look at the names that are fine, which is nearly all of them.
        rf"CASE WHEN NOT regexp_matches({expr}, '(^|/)\.{{0,2}}(/|$)|\\|{control}') THEN NULL "
        f"WHEN {expr} = '' THEN 'no characters' "
        f"WHEN regexp_matches({expr}, '{control}') THEN 'a control character' "
        f"WHEN contains({expr}, '\\') THEN 'a backslash' "
        f"WHEN regexp_matches({expr}, '(^|/)(/|$)') THEN 'an empty segment' "
        f"WHEN {expr} IS NOT NULL THEN 'a `.` or `..` segment' END"
    )


def too_long(expr: str, limits: KeyLimits) -> str:
    """`key_limits.too_long`; NULL where the key is short enough."""
    whens = []
    if limits.name is not None:
        longest = f"list_max(list_transform(string_split({expr}, '/'), lambda s: strlen(s)))"
        # Most keys are shorter as a whole.
        whens.append(
            f"WHEN strlen({expr}) > {limits.name} AND {longest} > {limits.name} "
            f"THEN 'would have a name of ' || {longest} || ' bytes, and this store takes {limits.name}'"
        )
    if limits.key is not None:
        length = f"length({expr})" if limits.in_characters else f"strlen({expr})"
        whens.append(
            f"WHEN {length} > {limits.key} THEN 'would have a key of ' || {length} || ' {limits.unit}, "
            f"and this store has room for {limits.key} below the datasource'"
        )
    return f"CASE {' '.join(whens)} END" if whens else NULL_TEXT


def body(file_name: str, kind: str, texts: Mapping[tuple[str, ...], str]) -> str:
    """`document.document`: the whole body of a document, as VARCHAR.

    `file_name` and `kind` are SQL; `texts` gives SQL of canonical JSON text (`json_value`) by key
    path, NULL where the key is left out. ValueError where two paths cannot both hold a value.
    """
    clash = overlapping(texts)
    if clash or () in texts:
        raise ValueError(f"key paths that cannot both hold a value: {clash or '()'}")
    tree: dict[str, Any] = {}
    for path, text in texts.items():
        branch = tree
        for step in path[:-1]:
            branch = branch.setdefault(step, {})
        branch[path[-1]] = text
    return (
        f"""('{{"file_name":' || {escape_json(file_name)} || ',"type":"' || {kind} """
        f"""|| '","metadata":{{' || {members(_rendered(tree))} || '}}}}')"""
    )


def _reserved(expr: str) -> str:
    """Whether a path lies in a folder that never holds media."""
    return " OR ".join(
        f"starts_with({expr}, {quote_text(folder)}) OR contains({expr}, {quote_text('/' + folder)})"
        for folder in RESERVED
    )


def _frame_stem(video: str, index: str, digits: str) -> str:
    # lpad would cut an index that is too long: it must not come so far.
    return (
        f"CASE WHEN {index} >= 0 AND length({index}::VARCHAR) <= {digits} AND {digits} <= {MAX_DIGITS} "
        f"THEN regexp_replace({video}, '\\.([^./]*)$', "
        f"'-' || lpad({index}::VARCHAR, {digits}::INTEGER, '0') || '-\\1') END"
    )


def _rendered(tree: Mapping[str, Any]) -> list[str]:
    """The members of an object of the body, in canonical order."""
    rendered = []
    for key in sorted(tree):
        label, value = json_string(key) + ":", tree[key]
        if isinstance(value, str):
            rendered.append(f"{quote_text(label)} || {value}")
        else:
            inner = members(_rendered(value))
            rendered.append(f"{quote_text(label + '{')} || nullif({inner}, '') || '}}'")
    return rendered


def _any_case(extensions: Iterable[str]) -> str:
    """A pattern for extensions in any letter case, ASCII letters alone.

    Not `(?i)`: it takes a few letters outside ASCII for their ASCII relatives.
    """
    return "|".join(
        "".join(f"[{c.upper()}{c.lower()}]" if c.isalpha() else c for c in extension)
        for extension in sorted(extensions)
    )
