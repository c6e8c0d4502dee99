"""From usable rows to wanted documents: sources merged key by key, bodies built.

Later sources win key by key; a null does not clear. The values of a whole video go into each of
its frame documents too, below the frame's own (docs/format.md says why).
"""

from __future__ import annotations

from collections.abc import Sequence

from metaferry.findings import Code
from metaferry.lightly.schema import Entry
from metaferry.planning.database import Database
from metaferry.planning.entries import KeyPath
from metaferry.planning.formats import CompactCounts
from metaferry.planning.records.compact import Compaction, compact, create_folded, puts_saved
from metaferry.planning.sql import rules as sql
from metaferry.tables.model import Loaded


def build_wanted(
    database: Database,
    sources: Sequence[Loaded],
    keys: Sequence[KeyPath],
    compaction: Compaction | None = None,
) -> CompactCounts:
    """Tables `wanted(target, kind, media, body, md5, size)`, one row a document; `folded`; and `merged`."""
    columns = [f"v{n}" for n in range(len(keys))]
    if len(sources) == 1:
        database.run("CREATE VIEW merged AS FROM values_0")
    else:
        _merge(database, sources, keys, columns)
    relation = _with_video_values(database, columns)
    compacted = CompactCounts()
    create_folded(database)
    if compaction is not None:
        compacted = compact(database, relation, keys, compaction)
        relation = "SELECT * FROM records"
    texts = dict(zip(keys, (f"d.{column}" for column in columns), strict=True))
    frame_name = sql.frame_file_name("d.media", "d.frame", "d.digits")
    file_name = f"CASE WHEN d.kind = 'frame' THEN {frame_name} ELSE d.media END"
    database.run(
        f"""
        CREATE TABLE wanted AS
        SELECT target, kind, media, body, md5(body) AS md5, strlen(body)::BIGINT AS size
        FROM (
            SELECT d.target, d.kind, d.media, {sql.body(file_name, "d.kind", texts)} AS body
            FROM ({relation}) d
        )
        """
    )
    return compacted


def puts_saved_by_compaction(database: Database, keys: Sequence[KeyPath], entries: Sequence[Entry]) -> int:
    """How many puts `compact: true` would save, after `build_wanted` without it."""
    return puts_saved(
        database, _with_video_values(database, [f"v{n}" for n in range(len(keys))]), keys, entries
    )


def _merge(
    database: Database, sources: Sequence[Loaded], keys: Sequence[KeyPath], columns: Sequence[str]
) -> None:
    """`merged`, by arg_max over the order of the sources: it passes over nulls."""
    union = " UNION ALL ".join(
        f"SELECT {index} AS rank, * FROM values_{index}" for index in range(len(sources))
    )
    picked = "".join(f", arg_max({c}, rank) AS {c}, count({c}) AS n_{c}" for c in columns)
    database.run(
        f"""
        CREATE TABLE merged AS
        SELECT target, any_value(kind) AS kind, any_value(media) AS media, any_value(frame) AS frame{picked}
        FROM ({union}) GROUP BY target
        """
    )
    if not columns:
        return
    counts = ", ".join(f"count(*) FILTER (n_{c} > 1), min(target) FILTER (n_{c} > 1)" for c in columns)
    found = database.row(f"SELECT {counts} FROM merged")
    for n, path in enumerate(keys):
        documents, example = found[2 * n], found[2 * n + 1]
        if documents:
            having = [source.label for source in sources if path in {key.path for key in source.keys}]
            database.finding(
                Code.RECORD_OVERLAP,
                "info",
                f"{'.'.join(path)} comes from several sources in {documents:,} "
                f"document{'s' if documents > 1 else ''}; the last one wins ({' < '.join(having)})",
                advice=f"nothing, where that is meant; else leave {'.'.join(path)} out of the `metadata:` "
                "of all but one of them",
                target=example,
            )


def _with_video_values(database: Database, columns: Sequence[str]) -> str:
    """SQL of `merged` with each video's values below its frames', and the digits of the video."""
    own = ", ".join(["m.target", "m.kind", "m.media", "m.frame", "f.digits"])
    if not database.value("SELECT count(*) FROM frames"):
        plain = "".join(f", m.{c}" for c in columns)
        return f"SELECT m.target, m.kind, m.media, m.frame, NULL::BIGINT AS digits{plain} FROM merged m"
    filled = "".join(f", coalesce(m.{c}, v.{c}) AS {c}" for c in columns)
    return (
        f"SELECT {own}{filled} FROM merged m "
        "LEFT JOIN frames f ON m.kind = 'frame' AND f.media = m.media "
        "LEFT JOIN (SELECT * FROM merged WHERE kind = 'video') v "
        "ON m.kind = 'frame' AND v.media = m.media"
    )
