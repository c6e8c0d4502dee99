"""The query that makes one record of rows that contradict each other: the largest value of each key wins.

Text for people, made of the source's own expressions; nothing here runs it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from metaferry.job.sources import Source
from metaferry.planning.advice.spelling import written
from metaferry.planning.sql.text import quote_ident
from metaferry.tables.model import KeyColumn

#: What the table is called in the query.
TABLE: Final = "segments"


def one_record_query(source: Source, keys: Sequence[KeyColumn]) -> str:
    """One row a document, of the rows of a source; "" where its frames are given by times."""
    frame, columns, relation = source.frame, [], TABLE
    if frame is not None and frame.seconds is not None:
        return ""
    if frame is not None and frame.value is not None:
        columns.append(f"{frame.value} AS frame")
    elif frame is not None:
        first, last = f"({frame.from_})::BIGINT", f"({frame.to or frame.until})::BIGINT"
        end = last if frame.to is None else f"{last} + 1"
        relation += f", unnest(range({first}, {end})) AS f(frame)"
        columns.append("f.frame")
    values = source.expressions or {
        name: quote_ident(name) for name in dict.fromkeys(key.path[0] for key in keys)
    }
    columns += [f"max({sql}) AS {quote_ident(key)}" for key, sql in values.items()]
    selected = ", ".join([f"{source.file_name} AS file_name", *columns])
    where = f" WHERE {source.where}" if source.where else ""
    return f"SELECT {selected} FROM {relation}{where} GROUP BY ALL"


def duplicate_advice(source: Source, keys: Sequence[KeyColumn]) -> str:
    """What to do about rows of a source that say different things of one document."""
    advice = "keep one of the rows, or leave the others out with `where`"
    if source.query is not None:
        return f"{advice}; or let GROUP BY make one row of them in the query"
    if source.table is None:
        return f"{advice}; or let GROUP BY make one row of them: name it in tables, and read it in a query"
    query = one_record_query(source, keys)
    if not query:
        seconds = source.frame.seconds if source.frame is not None else None
        if seconds is not None and seconds.to is not None:
            other: dict[str, Any] = {"seconds": {"from": seconds.from_, "until": seconds.to}}
            line = written("frame", other)
            return f"{advice}; where a range ends before its last frame, as ranges that adjoin do: {line}"
        return advice
    frame = ""
    if source.frame is not None:
        frame = "; frame: {value: frame, base: 1}" if source.frame.base else "; frame: frame"
    table = f"tables: {{{TABLE}: {json.dumps(source.location.shown, ensure_ascii=False)}}}"
    return f"{advice}; or let the largest value win: {table}; {written('query', query)}{frame}"
