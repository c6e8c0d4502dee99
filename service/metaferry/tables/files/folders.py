"""Columns that the files' own paths give: Hive folders (`camera=front/`) and `_path`.

Values are text: what the folders of today look like says nothing of those of tomorrow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.tables.files.find import TableObject
from metaferry.tables.model import FILE, Column, ShownColumn, Staged, folded
from metaferry.tables.samples import first_of
from metaferry.tables.staging import quote_ident

if TYPE_CHECKING:
    import duckdb

#: The path of a row's file below the folder in which the fixed part of a glob ends.
PATH: Final = "_path"
_HIVE: Final = re.compile(r"([^=]+)=(.*)", re.DOTALL)
_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
_INCOMING: Final = "metaferry_folders"


def hive_values(path: str) -> dict[str, str | None]:
    """The columns that the folders of a path give, in order; the last of equal names wins."""
    values: dict[str, str | None] = {}
    for folder in path.split("/")[:-1]:
        match = _HIVE.fullmatch(folder)
        if match:
            value = unquote(match[2])
            values[unquote(match[1])] = None if value == _NULL else value
    return values


def with_folders(
    con: duckdb.DuckDBPyConnection,
    staged: Staged,
    files: Sequence[TableObject],
    used: frozenset[str] | None,
    *,
    table: str,
    place: str,
) -> Staged:
    """`staged` with the columns that paths give, as far as they are used; `table` is made for them.

    Without `used` Hive columns are taken and `_path` is not. A column of the files that is called `_path`
    is that one. Raises JobError for a folder and a column of the files that have the same name.
    """
    given = [hive_values(file.path) for file in files]
    names: dict[str, str] = {}
    for values in given:
        for name in values:
            names.setdefault(folded(name), name)
    own = {folded(column.name): column.name for column in staged.columns}
    taken = [name for key, name in names.items() if used is None or key in used]
    for name in taken:
        if folded(name) in own:
            raise JobError(
                f"{files[0].url}: {own[folded(name)]} is a column of the file, and {name}= a folder of it",
                place=place,
                advice="rename one of them"
                + ("; or name the columns that are wanted in metadata:" if used is None else ""),
            )
    path = used is not None and PATH in used and PATH not in own
    others = (
        *staged.others,
        *(
            ShownColumn(name, "VARCHAR", first_of(values.get(name) for values in given), used=False)
            for name in names.values()
            if name not in taken
        ),
    )
    staged = replace(staged, others=others)
    every = (*staged.names, *names.values(), PATH)
    if staged.is_empty or not (taken or path):
        return replace(staged, names=every if staged.names else ())
    by_key = [{folded(name): value for name, value in values.items()} for values in given]
    columns: dict[str, list[str | None]] = {
        name: [values.get(folded(name)) for values in by_key] for name in taken
    }
    if path:
        columns[PATH] = [file.path.partition("?")[0] for file in files]
    arrays = [pa.array(range(len(files)), pa.int32()), *(pa.array(v, pa.string()) for v in columns.values())]
    con.register(_INCOMING, pa.Table.from_arrays(arrays, names=[FILE, *columns]))
    try:
        con.execute(f"CREATE TABLE {quote_ident(table)} AS SELECT * FROM {_INCOMING}").fetchall()
    finally:
        con.unregister(_INCOMING)
    listed = ", ".join(f"h.{quote_ident(name)}" for name in columns)
    joined = f"JOIN {quote_ident(table)} h ON h.{FILE} = s.{FILE}"
    return replace(
        staged,
        columns=(*staged.columns, *(Column(name, "VARCHAR") for name in columns)),
        names=every,
        relation=lambda where: f"SELECT s.*, {listed} FROM ({staged.relation(where)}) s {joined}",
        plain=staged.plain and f"SELECT s.*, {listed} FROM ({staged.plain}) s {joined}",
    )
