"""The staging table of JSON objects: the text of some, typed columns of the others, one relation of both.

A key whose type changes as more is read gets another column each time: what is staged is not written
again. The relation makes one column of them, of the type that holds every value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import pyarrow as pa

from metaferry.tables.json.round_trip import Insert
from metaferry.tables.json.shapes import Structure
from metaferry.tables.json.typed import Part, converted, is_same, stays_exact
from metaferry.tables.model import FILE, OURS, ROW
from metaferry.tables.staging import StagingTable, plain_rows, quote_ident, quote_text

TEXT: Final = f"{OURS}line"
#: Columns for all keys together: a table whose types go on changing is staged as text from then on.
_MOST: Final = 4_096


class TypedColumns:
    """Typed columns of `staging`, which has the column `TEXT`."""

    def __init__(self, staging: StagingTable) -> None:
        self._staging = staging
        self._columns: dict[tuple[str, pa.DataType], str] = {}
        self._has_text = False

    def append(self, index: int, rows: pa.Array, parts: Sequence[Part]) -> bool:
        """Rows of file `index`, of which all other keys are null; False where there are too many columns.

        `parts` have the same columns, of the same types.
        """
        given = [(key, column.type) for key, column in parts[0].columns.items()]
        if not self._add(given):
            return False
        known, at = set(given), 0
        for count, columns in parts:
            values = [
                columns[key] if (key, kind) in known else pa.nulls(count, kind) for key, kind in self._columns
            ]
            self._staging.append(index, rows.slice(at, count), [pa.nulls(count, pa.string()), *values])
            at += count
        return True

    def begin(self, index: int, insert: Insert) -> bool:
        """Has an insert begun, of rows of file `index`; False where there are too many columns.

        Whether it is done `StagingTable.is_inserted` says, which is to be asked before the next rows.
        """
        if not self._add(list(insert.columns)):
            return False
        values = {self._columns[each]: sql for each, sql in insert.columns.items()}
        self._staging.begin({FILE: str(index), ROW: insert.row, **values}, insert.source, insert.lines)
        return True

    def _add(self, given: Sequence[tuple[str, pa.DataType]]) -> bool:
        """Columns for those of `given` that have none; False where there would be too many."""
        more = [each for each in given if each not in self._columns]
        if len(self._columns) + len(more) > _MOST:
            return False
        if more:
            names = {each: f"{OURS}v{len(self._columns) + at}" for at, each in enumerate(more)}
            self._staging.add_columns([(name, kind) for (_, kind), name in names.items()])
            self._columns |= names
        return True

    def append_texts(self, index: int, rows: pa.Array, texts: pa.Array) -> None:
        if len(rows):
            self._has_text = True
            nulls = [pa.nulls(len(rows), kind) for _, kind in self._columns]
            self._staging.append(index, rows, [texts, *nulls])

    def stay_exact(self, structure: Structure) -> bool:
        """Whether what is staged can still become what the structure says by now."""
        return all(stays_exact(kind, structure.members[key]) for key, kind in self._columns)

    def plain(self, members: Mapping[str, Structure]) -> str:
        """`Staged.plain` of the keys of `members`; "" where their values are parted, or to be converted."""
        columns: dict[str, str] = {}
        for (key, kind), column in self._columns.items():
            if key in columns or not is_same(kind, members[key]):
                return ""
            columns[key] = quote_ident(column)
        listed = {key: columns.get(key, "NULL::VARCHAR") for key in members}
        return "" if self._has_text else plain_rows(self._staging.name, listed)

    def relation(self, members: Mapping[str, Structure]) -> Callable[[str], str]:
        """`Staged.relation` of the keys of `members`."""
        template = {key: member.template() for key, member in members.items() if member.plain_type()}
        listed = [FILE, ROW]
        for key, member in members.items():
            name = quote_ident(key)
            if key not in template:  # no object holds a value
                listed.append(f"NULL::VARCHAR AS {name}")
                continue
            values = [
                converted(quote_ident(column), kind, member)
                for (own, kind), column in self._columns.items()
                if own == key
            ]
            if self._has_text or not values:
                values.append(f"struct_extract(v, {quote_text(key)})")
            listed.append(
                f"coalesce({', '.join(values)}) AS {name}" if values[1:] else f"{values[0]} AS {name}"
            )
        parsed = f"from_json({TEXT}, {quote_text(json.dumps(template))})" if template else "NULL"
        columns = "".join(f", {column}" for column in self._columns.values())
        table = quote_ident(self._staging.name)
        return lambda where: (
            f"SELECT {', '.join(listed)} FROM (SELECT {FILE}, {ROW}{columns}, {parsed} AS v "
            f"FROM {table}{where}) x"
        )
