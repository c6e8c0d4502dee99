"""Types of expressions over the columns of one table, and plain words for what the engine refuses.

Expressions were checked for their form before (`expressions.py`). Here they meet the table, on an
empty copy of it, so that a misspelt column or a type that does not fit is known before a row is
touched.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from metaferry.errors import JobError
from metaferry.tables.expressions import BEFORE, Expression, Reference, characters, probe
from metaferry.tables.files.folders import PATH
from metaferry.tables.model import Column, folded
from metaferry.tables.staging import quote_ident

if TYPE_CHECKING:
    import duckdb

_NOTHING: Final[Mapping[str, str]] = {}


class Binder:
    """Types of expressions over the columns of one table, found on an empty copy of it.

    The copy is in a connection of its own, to an engine that can reach nothing. `why_text(column)` may tell
    why a column is text; `source` is what messages call the table. Of a text table, `cells` and `nulls` are
    those of `Staged`, and `words` what may be no value.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        names: Sequence[str],
        why_text: Callable[[str], str],
        source: str,
        *,
        cells: Mapping[str, str] = _NOTHING,
        nulls: Collection[str] = (),
        words: Sequence[str] = (),
    ) -> None:
        self._names = names
        self._types = {folded(column.name): column for column in columns}
        self._why_text = why_text
        self._source = source
        self._cells, self._nulls = cells, nulls
        self._literals = tuple(f"'{word}'" for word in words)
        self._con = probe()
        listed = [f"{quote_ident(column.name)} {column.type}" for column in columns]
        listed += [f"{cell} VARCHAR" for cell in cells.values()]
        self._con.execute(f"CREATE TEMP TABLE {_TABLE} ({', '.join(listed) or 'nothing BOOLEAN'})").fetchall()
        self._con.execute(f"CREATE TEMP TABLE {_ONE_ROW} AS SELECT NULL AS metaferry_nothing").fetchall()

    def over_cells(self, expression: Expression) -> Expression:
        """The expression over cells as text, where it does not work only since null words made none of them.

        `nullif(speed, 'NA')::DOUBLE` was written for a column that is text; so was whatever names a null
        word, on the days when there is none. Every other expression is answered as it is.
        """
        named = {folded(reference.column) for reference in expression.references}
        cells = {
            name: cell
            for name, cell in self._cells.items()
            if name in named
            and self._types[name].type != "VARCHAR"
            and (name in self._nulls or any(literal in expression.text for literal in self._literals))
        }
        if not cells or self._works(expression.sql):
            return expression
        instead = expression.with_cells(cells)
        return instead if instead is not None and self._works(instead.sql) else expression

    def _works(self, sql: str) -> bool:
        """Whether it has a value where every column is null: constants of a wrong type then show."""
        import duckdb

        rows = f"{_ONE_ROW} LEFT JOIN {_TABLE} ON true"
        try:
            self._con.execute(f"{BEFORE}{sql}) FROM {rows}").fetchall()
        except duckdb.Error:
            return False
        return True

    def close(self) -> None:
        self._con.close()

    def type_of(self, expression: Expression) -> str:
        """The engine's type of an expression. Raises JobError when it does not fit the table."""
        import duckdb

        for reference in expression.references:
            if folded(reference.column) not in self._types:
                raise self._no_column(expression, reference)
        statement = f"{BEFORE}{expression.sql}) FROM {_TABLE}"
        try:
            self._con.execute(statement).fetchall()  # its errors have positions; those of `sql` have none
            return str(self._con.sql(statement).types[0])
        except duckdb.Error as error:
            raise self._misfit(expression, error) from None

    def _no_column(self, expression: Expression, reference: Reference) -> JobError:
        near = nearest(reference.column, self._names)
        advice = _header_advice(self._names, reference.column) if self._cells else ""
        if advice:
            pass
        elif not self._names:
            advice = "no row of it has any"
        elif near:
            advice = f"did you mean {' or '.join(map(written, near))}?"
        else:
            more = ", …" if len(self._names) > 20 else ""
            advice = f"the columns are {', '.join(map(written, self._names[:20]))}{more}"
            if self._cells and len(set(self._names) - {PATH}) == 1:
                advice += "; where that is a line before the header, write skip: {before: 1}"
        return expression.fault(
            f"{self._source} has no column {reference.column}", reference.at, advice=advice
        )

    def _misfit(self, expression: Expression, error: duckdb.Error) -> JobError:
        message, position = _engine_message(str(error))
        at = characters(expression.text, position - len(BEFORE)) if position is not None else None
        texts = [
            (column.name, why)
            for reference in expression.references
            if len(reference.steps) == 1
            and (column := self._types[folded(reference.column)]).type == "VARCHAR"
            and (why := self._why_text(column.name))
        ]
        if texts and "VARCHAR" in message:
            name, why = texts[0]
            return expression.fault(
                f"{message}: the column {name} is text, since {why}",
                at,
                advice=f"use try_cast({written(name)} AS DOUBLE), which makes such cells null",
            )
        guessed = [one.column for one in expression.references if folded(one.column) in self._nulls]
        if guessed:
            return expression.fault(
                message,
                at,
                advice=f"null words make numbers of the column {guessed[0]}; with nulls: [] it is text",
            )
        return expression.fault(message, at, advice=_ADVICE.get(message.split(" ", 1)[0], ""))


def _header_advice(names: Sequence[str], wanted: str) -> str:
    """What to write where the first line of a text is no header, or not parted; "" where it seems to be one.

    `names` are its cells.
    """
    cells = [name for name in names if name != PATH]
    first = cells[0] if cells else ""
    if first.lower().startswith("sep="):
        return "the first line tells Excel the delimiter: write skip: {before: 1}"
    if first.startswith(("#", "//")):
        return f'where such lines are no rows, write comment: "{first[0]}"'
    if len(cells) != 1:
        return ""
    mark = next((one for one in first if not (one.isalnum() or one in "_-.\"'")), "")
    if mark and wanted.lower() in first.lower().split(mark.lower()):
        return f"name what parts cells: delimiter: {json.dumps(mark)}"
    return ""


def nearest(name: str, names: Sequence[str]) -> list[str]:
    """Up to three of the names that look like one."""
    by_folded = {folded(other): other for other in names}
    close = difflib.get_close_matches(folded(name), by_folded, 3, cutoff=0.6)
    return [by_folded[key] for key in close]


def engine_message(error: Exception) -> str:
    """What the engine says, as one sentence without lists of candidates."""
    return _engine_message(str(error))[0]


def plain_message(error: Exception) -> tuple[str, int | None]:
    """The same, with the position in bytes where the engine names one."""
    return _engine_message(str(error))


_TABLE: Final = "metaferry_rows"
_ONE_ROW: Final = "metaferry_one_row"
_ADVICE: Final = {"Deprecated": "write list_transform(x, lambda y: y + 1)"}


_NO_MATCH: Final = re.compile(r"""arguments? types? '(?P<name>.+?)\((?P<types>.*)\)'""", re.DOTALL)
_LITERALS: Final = {"INTEGER_LITERAL": "INTEGER", "STRING_LITERAL": "VARCHAR", "DECIMAL_LITERAL": "DECIMAL"}


def _engine_message(error: str) -> tuple[str, int | None]:
    _, _, rest = error.partition(": ")
    position: int | None = None
    try:
        reported = json.loads(rest)
        message = str(reported["exception_message"])
        position = int(reported["position"]) if "position" in reported else None
    except (ValueError, KeyError, TypeError):
        message = rest or error
    for literal, plain in _LITERALS.items():
        message = message.replace(literal, plain)
    candidates = re.search(r"Candidate Entries: (.+)", message)
    suggestion = re.search(r"Did you mean (.+)", message)
    match = _NO_MATCH.search(message)
    # The engine's own way out is a setting that nobody can reach; the advice names `try`.
    sentence = message.split("\n", 1)[0].partition(" Use TRY(")[0].strip()
    if match:
        sentence = f"{match['name'].strip()} cannot be applied to ({match['types']})"
    elif candidates:
        sentence = f"{sentence}; it has {candidates[1].strip()}"
    elif suggestion:
        sentence = f"{sentence.rstrip('!')}; did you mean {suggestion[1].strip()}"
    return sentence.rstrip("."), position


def written(name: str) -> str:
    """A column's name as SQL needs it: quoted unless it is a plain word."""
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else quote_ident(name)
