"""Types that stay: what an earlier run inferred of the values there were then, and the ways out of it.

An entry in place keeps its type, so that a consumer never sees one flip. `schema: {infer: {widen: true}}`
allows one change: whole numbers become floats, where a run inferred the entry and nobody edited it since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from metaferry.findings import Code
from metaferry.lightly.key_paths import split_path
from metaferry.lightly.schema import Entry, Observed, ValueType
from metaferry.planning.database import Database
from metaferry.planning.price.model import PriceTable, Requests, money
from metaferry.planning.sql import rules as sql
from metaferry.tables.model import KeyColumn, Loaded

#: Answers the entries that runs inferred, as they wrote them, by path; asked only where it matters.
Inferred = Callable[[], Mapping[str, Mapping[str, Any]]]

_MEND: Final = "mend the value, or cast it in the mapping"


def widened(
    database: Database, sources: Sequence[Loaded], existing: Sequence[Entry], inferred: Inferred
) -> tuple[tuple[Entry, Entry], ...]:
    """Entries of whole numbers whose usable rows hold others now: as they are and as floats.

    Only those that `inferred` knows exactly as they are in place.
    """
    wanting = [
        entry
        for entry in existing
        if entry.type is ValueType.NUMERIC_INT
        and any(
            _has_fractions(database, source, index, key)
            for index, source in enumerate(sources)
            for key in source.keys
            if ".".join(key.path) == entry.path and sql.observed(key.type) is Observed.FLOAT
        )
    ]
    known = inferred() if wanting else {}
    return tuple(
        (entry, replace(entry, type=ValueType.NUMERIC_FLOAT, default=float(entry.default)))
        for entry in wanting
        if known.get(entry.path) == entry.to_json()
    )


def explain_types(database: Database, existing: Sequence[Entry], inferred: Inferred, *, widen: bool) -> None:
    """Table `sticky(path, advice)`: for values that entries in place reject, where the type is from."""
    database.run("CREATE TABLE sticky (path VARCHAR, advice VARCHAR)")
    rows = database.rows(f"SELECT DISTINCT \"column\" FROM rejects WHERE code = '{Code.VALUE_TYPE}'")
    paths = {path for (path,) in rows}
    entries = [entry for entry in existing if entry.path in paths]
    known = inferred() if entries else {}
    for entry in entries:
        database.run(
            "INSERT INTO sticky VALUES (?, ?)",
            [entry.path, _advice(entry, known=known.get(entry.path) == entry.to_json(), widen=widen)],
        )


def name_rewrites(
    database: Database, edits: Sequence[tuple[Entry, Entry]], prices: PriceTable | None
) -> None:
    """One finding for each widened entry: how many documents are written again with it, and their price."""
    for _, entry in edits:
        written = rewritten(database, entry.path)
        puts = Requests(put=written)
        cost = ""
        if prices is not None and not prices.unknown(puts) and (amount := prices.amount(puts)) >= 0.01:
            cost = f", about {money(amount, prices.currency)} of puts ({prices.name})"
        many = "1 document is" if written == 1 else f"{written:,} documents are"
        database.finding(
            Code.SCHEMA_CHANGED,
            "warning",
            f"the entry {entry.path}, which an earlier run inferred, is widened from NUMERIC_INT to "
            f"NUMERIC_FLOAT: {many} written again with it (12 becomes 12.0){cost}",
            advice="without widen: true the entry stays, and rows with fractions are rejected",
        )


def rewritten(database: Database, path: str) -> int:
    """How many documents are written again and have a value for the entry of that path."""
    steps = (step[1:-1] if step.startswith("[") else step for step in split_path(path))
    pointer = "/metadata/" + "/".join(step.replace("~", "~0").replace("/", "~1") for step in steps)
    found: int = database.value(
        f"SELECT count(*) FROM decided d JOIN wanted w ON w.rowid = d.wid WHERE d.action = 'update' "
        f"AND json_extract(w.body, {sql.quote_text(pointer)}) IS NOT NULL"
    )
    return found


def _has_fractions(database: Database, source: Loaded, index: int, key: KeyColumn) -> bool:
    value = f"s.{sql.quote_ident(key.column)}::DOUBLE"
    found = database.rows(
        f"SELECT 1 FROM {source.table} s JOIN match_{index} m ON m.rid = s.rowid "
        f"WHERE m.code IS NULL AND isfinite({value}) AND {value} <> trunc({value}) LIMIT 1"
    )
    return bool(found)


def _advice(entry: Entry, *, known: bool, widen: bool) -> str:
    if known:
        said = f"an earlier run inferred the schema entry {entry.path} as {entry.type}, and it stays: {_MEND}"
        if entry.type is ValueType.NUMERIC_INT and not widen:
            return f"{said}; for numbers with fractions write schema: {{infer: {{widen: true}}}}"
        return f"{said}, or give the entry another type in schema.json or in `schema:`"
    left = ", so widen leaves it" if widen and entry.type is ValueType.NUMERIC_INT else ""
    return (
        f"the schema entry {entry.path} is {entry.type}, and that a run inferred it is not known{left}: "
        f"{_MEND}, or give the entry another type in schema.json or in `schema:`"
    )
