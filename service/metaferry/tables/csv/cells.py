"""Columns of a text table whose cells are numbers to the reader: where they are read as text all the same,
and what is told of the words among them that are no value.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from metaferry.findings import Code
from metaferry.tables.expressions import Expression
from metaferry.tables.model import Staged, folded
from metaferry.tables.staging import Findings

_KINDS: Final = {"BIGINT": "numbers", "DOUBLE": "numbers", "BOOLEAN": "booleans"}


def as_text(
    path: tuple[str, ...],
    expression: Expression,
    staged: Staged,
    texts: Collection[str],
    findings: Findings,
) -> Expression:
    """The expression over the cells as text, where it is a column whose schema entry wants text."""
    column = expression.plain_column
    cell = staged.cells.get(folded(column)) if column else None
    kind = next((one.type for one in staged.columns if folded(one.name) == folded(column)), "VARCHAR")
    dotted = ".".join(path)
    if cell is None or dotted not in texts or (kind == "VARCHAR" and folded(column) not in staged.nulls):
        return expression
    what = _KINDS.get(kind, "dates")
    findings.add(
        Code.SCHEMA_TEXT,
        "info",
        f"{dotted} is text by its schema entry, so the {what} in the column {column} are read as text",
        advice=f"where they are meant to be {what}: give the entry another type",
    )
    return replace(expression, over_cells=cell)


def name_nulls(staged: Staged, expressions: Sequence[Expression], findings: Findings) -> None:
    """One finding for each column of which null words were taken for no value, and which is so used."""
    used = frozenset[str]().union(*(one.columns for one in expressions if not one.over_cells))
    columns = {folded(column.name): column for column in staged.columns}
    for name, words in staged.nulls.items():
        if name not in used:
            continue
        column, number = columns[name], sum(words.values())
        cells = f"{number:,} cells of the column {column.name} ({', '.join(words)}) are"
        if number == 1:
            cells = f"one cell of the column {column.name} ({', '.join(words)}) is"
        findings.add(
            Code.SOURCE_NULLS,
            "info",
            f"{cells} read as no value: all others are {_KINDS.get(column.type, 'dates')}",
            advice="nothing, where that is meant; to keep such cells, in a column of text: nulls: []",
        )
