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
from metaferry.tables.csv.column_types import NULL_WORDS, Numbers, is_decimal
from metaferry.tables.model import KeyColumn, Loaded

#: Rows that show whether a column is one of numbers at all, and different other cells that are listed.
_FIRST_ROWS: Final = 10_240
_LISTED: Final = 5
_COMMA: Final = r"\s*-?[0-9]+,[0-9]+\s*"
#: How people write numbers of which the engine makes none; `decimal` and `thousands` read them.
_NOTATIONS: Final = (
    Numbers(","),
    *(Numbers(",", mark) for mark in (".", " ", "\u00a0", "\u202f", "'", "\u2019")),
    *(Numbers(".", mark) for mark in (",", " ", "\u00a0", "\u202f", "'", "\u2019")),
)


def report_text_numbers(
    database: Database, sources: Sequence[Loaded], paths: Iterable[str], *, mapped: Sequence[bool]
) -> None:
    """A finding for each of the key paths whose column mostly holds numbers. They become text entries.

    `mapped` tells of each source whether its job has a `metadata:`; one without takes all columns.
    """
    wanted = set(paths)
    for source, has_mapping in zip(sources, mapped, strict=True):
        for key in source.keys:
            if key.mixed and key.type == "VARCHAR" and ".".join(key.path) in wanted:
                _tell_mixed(database, source, key, mapped=has_mapping)
            if key.cell and key.type == "VARCHAR" and ".".join(key.path) in wanted:
                # Points of other columns would be no decimal marks any more.
                points = any(each.cell and each.type == "DOUBLE" for each in source.keys)
                _look(database, source, key, mapped=has_mapping, points=points)


def _tell_mixed(database: Database, source: Loaded, key: KeyColumn, *, mapped: bool) -> None:
    """Of JSON, which tells numbers from text, each value of another kind counts."""
    advice = "give the key one kind in the table, where that is not meant"
    if "a number" in key.mixed:
        tried = written(_key(key), f"try_cast({key.source} AS DOUBLE)")
        advice = f"where numbers are meant, write in metadata: {tried}, null where it is none{_rest(mapped)}"
    database.finding(
        Code.SCHEMA_TEXT,
        "warning",
        f"{_key(key)} becomes text (CATEGORICAL_STRING), and stays it: {key.mixed}",
        advice=advice,
        source=source.label,
    )


def _rest(mapped: bool) -> str:
    return "" if mapped else "; `metadata:` then has to name the other columns too"


def _look(database: Database, source: Loaded, key: KeyColumn, *, mapped: bool, points: bool) -> None:
    cell = sql.quote_ident(key.column)
    tests = [f"coalesce({is_decimal(each.plain(cell))}, false)" for each in _NOTATIONS]
    anyhow = " OR ".join((is_decimal(cell), _comma(cell), _blank(cell), *tests))
    kinds = ", ".join(
        f"count(*) FILTER ({test})"
        for test in (is_decimal(cell), _comma(cell), _blank(cell), _null_word(cell), anyhow, *tests)
    )
    counts: tuple[int, ...] = ()
    for rows in (f" WHERE rowid < {_FIRST_ROWS}", ""):
        counts = database.row(f"SELECT count({cell}), {kinds} FROM {source.table}{rows}")
        filled, nulls, alike = counts[0], counts[4], counts[5]
        if not alike or 2 * alike <= filled - nulls:
            return
    filled, numbers, commas, blanks, nulls, _, *written_so = counts
    so = [each for each, count in zip(_NOTATIONS, written_so, strict=True) if count == filled - nulls]
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
            _options([each for each in so if each.decimal == "." or not points], first)
            or _advice(
                key,
                commas=commas,
                blanks=blanks,
                words=words,
                others=filled - numbers - nulls,
                nulls=nulls,
                notation=next(iter(so), None),
                mapped=mapped,
            ),
            source.label,
            url,
            row,
        ],
    )


def _advice(
    key: KeyColumn,
    *,
    commas: int,
    blanks: int,
    words: Sequence[str],
    others: int,
    nulls: int,
    notation: Numbers | None,
    mapped: bool,
) -> str:
    """The line to write where no options make numbers of the column. `others` are cells that are none."""
    column = sql.quote_ident(key.cell)
    rest = _rest(mapped)
    number = ""
    if notation is not None and notation.thousands:
        number = f"replace({column}, {sql.quote_text(notation.thousands)}, '')"
        number = f"replace({number}, ',', '.')" if notation.decimal == "," else number
    elif commas == others:
        number = f"replace({column}, ',', '.')"
    elif blanks == others:
        number = f"trim({column})"
    if number:
        cast = f"try_cast({number} AS DOUBLE)" if nulls else f"{number}::DOUBLE"
        return f"write in metadata: {written(_key(key), cast)}{rest}"
    if not commas and not blanks and len(words) <= _LISTED and not any(map(_may_be_number, words)):
        known = [word for word in NULL_WORDS if word not in words]
        listed = json.dumps([*words, *known], ensure_ascii=False)
        return f"where such cells are no value, write beside table: nulls: {listed}"
    tried = written(_key(key), f"try_cast({column} AS DOUBLE)")
    return f"write in metadata: {tried}, null where it is none{rest}"


def _may_be_number(word: str) -> bool:
    """Whether a cell is more than a word for no value."""
    return len(word) > 20 or any(map(str.isdigit, word))


def _options(notations: Sequence[Numbers], first: str) -> str:
    """The options under which all cells are numbers; "" where there are none.

    Of marks that no cell has, those of fewer are meant; `1,234` alone may be either of two numbers.
    """
    least = [each for each in notations if not any(_has_fewer(other, each) for other in notations)]
    if not least:
        return ""
    lines: dict[str, str] = {}
    for each in sorted(least, key=lambda each: each.decimal == ",", reverse=True):
        value = first
        options = []
        if each.thousands:
            value = value.replace(each.thousands, "")
            options.append(f"thousands: {json.dumps(each.thousands)}")
        if each.decimal != ".":
            value = value.replace(each.decimal, ".")
            options.insert(0, f"decimal: {json.dumps(each.decimal)}")
        lines[value] = " and ".join(options)  # of two for one number the shorter
    if len(lines) == 1:
        return f"write beside table: {next(iter(lines.values()))}"
    either = "; ".join(
        f"where {json.dumps(first[:40])} is {value[:40]}: {option}" for value, option in lines.items()
    )
    return f"write beside table, {either}"


def _has_fewer(one: Numbers, other: Numbers) -> bool:
    """Whether the one has all its marks in common with the other, which has one more."""
    return one.decimal == other.decimal and not one.thousands and bool(other.thousands)


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
