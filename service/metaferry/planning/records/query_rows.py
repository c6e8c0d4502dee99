"""Rows of queries in findings and rejects: they have no line in a file, so their values say which is meant.

Imported by `build` and `duplicates`. All in SQL, over the few rows that are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from metaferry.findings import Code
from metaferry.lightly.key_paths import join_path
from metaferry.planning.database import Database
from metaferry.planning.sql import rules as sql
from metaferry.tables.model import Loaded

#: Values that are shown of one row, and characters of each.
_VALUES: Final = 8
_CHARACTERS: Final = 60


def row_text(source: Loaded, row: str) -> str:
    """SQL of a row of the source's table in words: its name, its frame, and the first of its values."""
    shown = [("file_name", f"{row}.file_name")]
    if source.has_frame:
        shown.append(("frame", f"{row}.frame"))
    keys = [(join_path(key.path), f"{row}.{sql.quote_ident(key.column)}") for key in source.keys]
    parts = []
    for name, value in (*shown, *keys[:_VALUES]):
        text = f"left({value}::VARCHAR, {_CHARACTERS})"
        parts.append(f"{sql.quote_text(name + ' ')} || coalesce('\"' || {text} || '\"', 'null')")
    more = " || ', …'" if len(keys) > _VALUES else ""
    return f"concat_ws(', ', {', '.join(parts)}){more}"


def name_query_rows(database: Database, sources: Sequence[Loaded]) -> None:
    """Puts the values of the row into what speaks of a query's row by its number, in rejects and findings."""
    for source in sources:
        if not source.is_query:
            continue
        # A video that samples are joined to is named by the message itself.
        text = "''" if source.frames.kind == "joined" else f"', in the row with ' || {row_text(source, 's')}"
        for table in ("rejects", "findings"):
            database.run(
                f"""
                UPDATE {table} SET "row" = NULL, file = '',
                       message = {table}.message
                           || CASE WHEN code = '{Code.RECORD_DUPLICATE}' THEN ''  -- has them already
                                   ELSE {text} END
                FROM {source.table} s
                WHERE {table}.source = {sql.quote_text(source.label)} AND {table}."row" = s."row"
                  AND {table}.file = ''  -- a table may have the name of the query
                """
            )
