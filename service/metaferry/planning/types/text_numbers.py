"""A new entry that is text though its column holds numbers: said before it is written, since it then stays.

One cell that is no number makes text of a column of a text table; what that cell is tells what to write in
the job. Looked at only where an entry is new, so later runs pay nothing for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

from metaferry.findings import Code
from metaferry.planning.advice.spelling import written
from metaferry.planning.database import Database
from metaferry.planning.sql import rules as sql
from metaferry.tables.csv.column_types import NULL_WORDS, is_decimal
from metaferry.tables.model import KeyColumn, Loaded

#: Rows that show whether a column is one of numbers at all, and different other cells that are listed.
_FIRST_ROWS: Final = 10_240
_LISTED: Final = 5
_COMMA: Final = r"\s*-?[0-9]+,[0-9]+\s*"


def report_text_numbers(
    database: Database, sources: Sequence[Loaded], paths: Iterable[str], *, mapped: Sequence[bool]
) -> None:
    """A finding for each of the key paths whose column mostly holds numbers. They become text entries.

    `mapped` tells of each source whether its job has a `metadata:`; one without takes all columns.
    """
    wanted = set(paths)
    for source, has_mapping in zip(sources, mapped, strict=True):
        for key in source.keys:
            if key.cell and key.type == "VARCHAR" and ".".join(key.path) in wanted:
                _look(database, source, key, mapped=has_mapping)


def _look(database: Database, source: Loaded, key: KeyColumn, *, mapped: bool) -> None:
    cell = sql.quote_ident(key.column)
    kinds = (
        f"count({cell}), count(*) FILTER ({is_decimal(cell)}), count(*) FILTER ({_comma(cell)}), "
        f"count(*) FILTER ({_blank(cell)}), count(*) FILTER ({_null_word(cell)})"
    )
    counts: tuple[int, ...] = ()
    for rows in (f" WHERE rowid < {_FIRST_ROWS}", ""):
        counts = database.row(f"SELECT {kinds} FROM {source.table}{rows}")
        filled, numbers, commas, blanks, _ = counts
        if not numbers + commas + blanks or 2 * (numbers + commas + blanks) <= filled - counts[4]:
            return
    filled, numbers, commas, blanks, _ = counts
    other = f"{cell} IS NOT NULL AND NOT {is_decimal(cell)}"
    row, url, first = database.row(
        f"SELECT s.row, f.url, s.{cell} FROM {source.table} s "
        f"JOIN files_{_index(source)} f ON f.file = s.file WHERE {other} ORDER BY s.file, s.row LIMIT 1"
    )
    words = [
        word
        for (word,) in database.rows(
            f"SELECT DISTINCT {cell} FROM {source.table} WHERE {other} ORDER BY 1 LIMIT {_LISTED + 1}"
        )
    ]
    path = ".".join(key.path)
    database.run(
        "INSERT INTO findings VALUES (?, 'warning', ?, ?, ?, ?, ?, '', '')",
        [
            str(Code.SCHEMA_TEXT),
            f"{path} becomes text (CATEGORICAL_STRING), and stays it: of the {filled:,} cells of the column "
            f"{key.cell}, {numbers:,} are numbers; the first that is none is {json.dumps(first[:40])}",
            _advice(key, commas=commas, blanks=blanks, words=words, others=filled - numbers, mapped=mapped),
            source.label,
            url,
            row,
        ],
    )


def _advice(
    key: KeyColumn, *, commas: int, blanks: int, words: Sequence[str], others: int, mapped: bool
) -> str:
    column = sql.quote_ident(key.cell)
    rest = "" if mapped else "; `metadata:` then has to name the other columns too"
    if commas == others:
        dotted = f"replace({column}, ',', '.')::DOUBLE"
        return f"write in metadata: {written(_key(key), dotted)}{rest}"
    if blanks == others:
        return f"write in metadata: {written(_key(key), f'trim({column})::DOUBLE')}{rest}"
    if not commas and not blanks and len(words) <= _LISTED and max(map(len, words)) <= 20:
        known = [word for word in NULL_WORDS if word not in words]
        listed = json.dumps([*words, *known], ensure_ascii=False)
        return f"where such cells are no value, write beside table: nulls: {listed}"
    tried = written(_key(key), f"try_cast({column} AS DOUBLE)")
    return f"write in metadata: {tried}, null where it is none{rest}"


def _key(key: KeyColumn) -> str:
    return ".".join(key.path)


def _index(source: Loaded) -> int:
    return int(source.table.rpartition("_")[2])


def _comma(cell: str) -> str:
    return f"coalesce(regexp_full_match({cell}, '{_COMMA}'), false)"


def _blank(cell: str) -> str:
    return f"({cell} <> trim({cell}) AND {is_decimal(f'trim({cell})')})"


def _null_word(cell: str) -> str:
    return f"{cell} IN ({', '.join(map(sql.quote_text, NULL_WORDS))})"
