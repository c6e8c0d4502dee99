"""A query to SQLite, in which each cell has a type of its own, as a query whose columns have one type each.

ADBC's driver takes the types of the first batch of rows and fails at a later row that has another one. So the
types are found over all rows first, in the same transaction, and the query is asked again with casts, after
one row that shows them to the driver.
"""

from __future__ import annotations

from typing import Any, Final

from metaferry.tables.staging import quote_ident

#: By the storage classes that a column has: what it is cast to, and a value of that type. The first that
#: holds all of them. Text holds every number as SQLite writes it.
_TYPES: Final = (
    (frozenset({"integer"}), "INTEGER", "0"),
    (frozenset({"integer", "real"}), "REAL", "0.5"),
    (frozenset({"blob"}), "BLOB", "x'00'"),
    (frozenset({"integer", "real", "text"}), "TEXT", "''"),
)
_CLASSES: Final = ("integer", "real", "text", "blob")


#: The last column of what is asked: 0 in the row that shows the types.
MARK: Final = "metaferry_row"


def typed_query(cursor: Any, query: str) -> tuple[str, frozenset[int]]:
    """The query with one type for each column, over all rows, and the positions of columns without any value.

    The result has one column more, `MARK`, and one row more, in which that is 0. `cursor` is ADBC's, within a
    transaction. A column of texts and blobs stays as it is.
    """
    cursor.execute(f"{query}\n")
    reader = cursor.fetch_record_batch()
    names = list(reader.schema.names)
    reader.close()
    own = [f"c{number}" for number in range(len(names))]
    rows = f"WITH metaferry_rows({', '.join(own)}) AS (\n{query}\n)"
    counts = [f"max(typeof({name}) = '{kind}')" for name in own for kind in _CLASSES]
    cursor.execute(f"{rows} SELECT {', '.join(counts)} FROM metaferry_rows")
    (found,) = cursor.fetchall()
    casts, shown, empty = [], [], set()
    for at, (name, given) in enumerate(zip(own, names, strict=True)):
        one = found[at * len(_CLASSES) : (at + 1) * len(_CLASSES)]
        classes = frozenset(kind for kind, is_there in zip(_CLASSES, one, strict=True) if is_there)
        if not classes:
            empty.add(at)
        kind, value = next(((to, like) for held, to, like in _TYPES if classes <= held), ("", "''"))
        casts.append(f"CAST({name} AS {kind})" if kind else name)
        shown.append(f"{value} AS {quote_ident(given)}")
    first = f"SELECT {', '.join(shown)}, 0 AS {MARK}"
    return f"{rows} {first} UNION ALL SELECT {', '.join(casts)}, 1 FROM metaferry_rows", frozenset(empty)
