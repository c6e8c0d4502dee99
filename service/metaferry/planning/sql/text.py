"""SQL text of literals and of JSON strings: what the other SQL modules are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from metaferry.lightly.document import ESCAPES

#: A missing text.
NULL_TEXT: Final = "NULL::VARCHAR"


def quote_ident(name: str) -> str:
    """An identifier. ValueError for a NUL character, which none can hold."""
    if "\0" in name:
        raise ValueError("an identifier cannot hold a NUL character")
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """A string literal; a NUL character, which no literal can hold, goes in as chr(0)."""
    parts = ["'" + part.replace("'", "''") + "'" for part in text.split("\0")]
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"


def escape_json(expr: str) -> str:
    """`document.json_string`: the JSON string literal of a VARCHAR, with its quotes."""
    # Most text needs no escape, most of the rest only those two: 34 replacements are for what is left.
    return (
        f"""('"' || CASE WHEN NOT regexp_matches({expr}, '[\\x00-\\x1f"\\\\]') THEN {expr} """
        f"""WHEN NOT regexp_matches({expr}, '[\\x00-\\x1f]') THEN {_replaced(expr, _PRINTABLE)} """
        f"""ELSE {_replaced(expr, ESCAPES)} END || '"')"""
    )


def members(texts: Iterable[str]) -> str:
    """Members of an object joined by commas, those that are NULL left out; '' when all are."""
    listed = list(texts)
    return f"concat_ws(',', {', '.join(listed)})" if listed else "''"


_PRINTABLE: Final = {character: escape for character, escape in ESCAPES.items() if character >= " "}


def _replaced(expr: str, escapes: Mapping[str, str]) -> str:
    # In the table's order: the backslash first, since every escape brings one.
    for character, escape in escapes.items():
        expr = f"replace({expr}, {quote_text(character)}, {quote_text(escape)})"
    return expr
