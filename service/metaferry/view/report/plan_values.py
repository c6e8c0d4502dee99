"""The values of a plan as the table that a page is made of. Nothing is read but the planning engine's tables.

The rows are those of `wanted`, then the documents in place that no record wants, whose values are not known,
and the media that have no document.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from metaferry.lightly.key_paths import split_path
from metaferry.lightly.names import Kind
from metaferry.lightly.nested import position
from metaferry.lightly.schema import Entry
from metaferry.lightly.values import SHAPES, Shape
from metaferry.planning.database import Database
from metaferry.planning.sql.rules import quote_text

#: The table that is made.
TABLE: Final = "plan_values"

#: The state of a document in place that no table speaks of, and that was therefore not read.
UNREAD: Final = "unread"

_TYPES: Final = {Shape.INTEGER: "BIGINT", Shape.FLOAT: "DOUBLE", Shape.BOOLEAN: "BOOLEAN"}
#: The number of a frame in the name of its document.
_FRAME: Final = r"-([0-9]+)-[^-/]*\.json$"


def load_plan_values(database: Database, entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
    """Makes the table, as a consumer will show the documents once they are written; its columns of entries.

    Reads `wanted`, `decided`, `documents` and `media`.
    """
    columns = [(entry, f"v{n}") for n, entry in enumerate(entries)]
    types = [_TYPES.get(SHAPES[entry.type], "VARCHAR") for entry in entries]
    defaults = [_default(entry, kind) for entry, kind in zip(entries, types, strict=True)]
    pointers = ", ".join(quote_text(_pointer(entry.path)) for entry in entries)
    found = f"json_extract_string(body, [{pointers}])" if entries else "[]::VARCHAR[]"
    values = "".join(
        f", coalesce(TRY_CAST(found[{n}] AS {kind}), {default}) AS {column}"
        for n, ((_, column), kind, default) in enumerate(zip(columns, types, defaults, strict=True), start=1)
    )
    plain = "".join(f", {default} AS {c}" for (_, c), default in zip(columns, defaults, strict=True))
    database.run(
        f"""
        CREATE OR REPLACE TABLE {TABLE} AS
        SELECT target, kind, media,
               CASE WHEN kind = '{Kind.FRAME}'
                    THEN TRY_CAST(regexp_extract(target, {quote_text(_FRAME)}, 1) AS BIGINT) END AS frame,
               CASE WHEN len(list_filter(found, lambda x: x IS NOT NULL)) = 0 THEN 'default'
                    ELSE 'document' END AS state{values}
        FROM (SELECT target, kind, media, {found} AS found FROM wanted)
        UNION ALL BY NAME
        SELECT target, coalesce(kind, 'image') AS kind, coalesce(media, target) AS media,
               CASE WHEN orphan THEN 'orphan' ELSE '{UNREAD}' END AS state
        FROM decided WHERE wid IS NULL AND action <> 'delete'
        UNION ALL BY NAME
        SELECT m.target, m.kind, m.path AS media, 'missing' AS state{plain}
        FROM media m
        ANTI JOIN (SELECT media FROM wanted WHERE kind <> '{Kind.FRAME}') w ON w.media = m.path
        ANTI JOIN documents d ON d.target = m.target
        WHERE m.included
        """
    )
    return columns


def _pointer(path: str) -> str:
    """A dotted path below `metadata` as a JSON pointer."""
    steps = ["metadata"]
    for step in split_path(path):
        at = position(step)
        steps.append(step.replace("~", "~0").replace("/", "~1") if at is None else str(at))
    return "/" + "/".join(steps)


def _default(entry: Entry, kind: str) -> str:
    if entry.default is None:
        return f"NULL::{kind}"
    text = entry.default if isinstance(entry.default, str) else json.dumps(entry.default)
    return f"{quote_text(text)}::{kind}"
