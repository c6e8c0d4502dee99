"""Rows that speak of a range of frames: one record a frame, and what is wrong with one is wrong with the row.

Imported by `match`. All in SQL; a range is parted into blocks before it is parted into frames, so that
memory is bounded by a block whatever the length of a video.
"""

from __future__ import annotations

from typing import Final

from metaferry.findings import Code
from metaferry.planning.database import Database

#: Frames of a block. A vector of the engine has 2,048 rows, of which each makes a list of so many numbers.
_BLOCK: Final = 2_048


def expanded(rows: str) -> str:
    """SQL of `rows` (with `code`, `frame`, `last`) as one row a frame, `lead` in the first of each.

    Those that cannot be used, and those of no range, stay one row.
    """
    return f"""(
        SELECT *, true AS lead FROM {rows} WHERE code IS NOT NULL OR last IS NULL
        UNION ALL BY NAME
        SELECT * EXCLUDE (begin), frame = begin AS lead FROM (
            SELECT * EXCLUDE (block)
                   REPLACE (block + unnest(range(0, least({_BLOCK}, last + 1 - block))) AS frame)
            FROM (
                SELECT *, frame AS begin, unnest(range(frame, last + 1, {_BLOCK})) AS block
                FROM {rows} WHERE code IS NULL AND last IS NOT NULL
            )
        )
    )"""


def reject_whole_rows(database: Database, index: int) -> None:
    """Of a row of which some record cannot be used, none is: all get the reason of the first that has one."""
    reject = f"code IS NOT NULL AND code <> '{Code.RECORD_REPEATED}'"
    spread = (
        "'frames ' || min(frame) || ' to ' || max(frame) || ' of \"' || min(media) || '\": ' "
        "|| min_by(detail, frame)"
    )
    database.run(
        f"""
        UPDATE match_{index} SET code = b.code, detail = b.detail FROM (
            SELECT rid, min_by(code, frame) AS code,
                   CASE WHEN min_by(code, frame) = '{Code.RECORD_DUPLICATE}' THEN {spread}
                        ELSE min_by(detail, frame) END AS detail
            FROM match_{index} WHERE last IS NOT NULL AND frame IS NOT NULL AND {reject} GROUP BY rid
        ) b WHERE b.rid = match_{index}.rid AND match_{index}.last IS NOT NULL
              AND match_{index}.code IS DISTINCT FROM '{Code.RECORD_REPEATED}'
        """
    )
