"""Fewer documents that say the same: what `compact: true` folds and leaves out.

The format shows a schema entry's default where a document, or a key in it, is missing, and the document of
a video is valid for all its frames. So two kinds of documents can go without changing what any media shows:

- the frame documents of a video whose number of frames is proved, all of whose frames say the same, and
  which has no record of its own: one document of the video says it;
- a document that says defaults only, where none is in place. One of a frame only where its video has no
  document either, since whether that one's values would show through is not settled by the format.

Keys are never left out of a document that is written. Nothing is folded that would leave a video with both
kinds: its frame documents in place have to go, so a video is not folded where they may not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from metaferry.findings import Code
from metaferry.lightly.document import json_text
from metaferry.lightly.key_paths import join_path
from metaferry.lightly.schema import Entry, ValueType
from metaferry.planning.database import Database
from metaferry.planning.formats import CompactCounts
from metaferry.planning.sql import rules as sql

KeyPath = tuple[str, ...]

#: Answers the defaults, by path, that the last run went by when it left documents out.
UsedDefaults = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Compaction:
    """What it goes by: the entries of this run, the defaults of the last one, and whether frame documents
    in place may be deleted."""

    entries: Sequence[Entry]
    used: UsedDefaults
    may_delete: bool


def create_folded(database: Database) -> None:
    """Table `folded(media, target)`: videos whose frame documents are one document of the video. Empty."""
    database.run("CREATE TABLE folded (media VARCHAR, target VARCHAR)")


def compact(
    database: Database,
    relation: str,
    keys: Sequence[KeyPath],
    how: Compaction,
    *,
    store: Literal["TABLE", "VIEW"] = "TABLE",
) -> CompactCounts:
    """Table `records`: the rows of `relation` (target, kind, media, frame, digits, v0 …) that are to become
    documents; fills `folded`. As views where nobody reads them but once, for the counts.

    Reads `documents`, `media`, `frames`, `collisions` and `protected`.
    """
    columns = [f"v{n}" for n in range(len(keys))]
    database.run(f"CREATE {store} recorded AS {relation}")
    frames = _fold(database, columns, may_delete=how.may_delete)
    values = "".join(f", any_value({column}) AS {column}" for column in columns)
    database.run(
        f"""
        CREATE {store} compacted AS
        SELECT r.* FROM recorded r ANTI JOIN folded f ON r.kind = 'frame' AND f.media = r.media
        UNION ALL
        SELECT f.target, 'video', f.media, NULL, NULL{values}
        FROM recorded r JOIN folded f ON r.kind = 'frame' AND f.media = r.media GROUP BY ALL
        """
    )
    now = _only_defaults(keys, {entry.path: _text(entry, entry.default) for entry in how.entries})
    _name_changed_defaults(database, keys, how, now)
    database.run(
        f"""
        CREATE {store} records AS
        SELECT c.* FROM compacted c WHERE NOT ({_without_document("c", now)})
        """
    )
    left, videos = database.row(
        "SELECT (SELECT count(*) FROM compacted) - (SELECT count(*) FROM records), "
        "(SELECT count(*) FROM folded)"
    )
    return CompactCounts(videos=videos, folded=frames, left_out=left)


def puts_saved(database: Database, relation: str, keys: Sequence[KeyPath], entries: Sequence[Entry]) -> int:
    """How many documents of `relation` would not have to be put under `compact: true`. Changes nothing."""
    counts = compact(database, relation, keys, Compaction(entries, dict, may_delete=True), store="VIEW")
    in_place: int = database.value(
        "SELECT count(*) FROM recorded r JOIN folded f ON r.kind = 'frame' AND f.media = r.media "
        "JOIN documents d ON d.target = r.target"
    )
    for view in ("records", "compacted", "recorded"):
        database.run(f"DROP VIEW {view}")
    database.run("DROP TABLE framed")
    database.run("DELETE FROM folded")
    return max(0, counts.saved - in_place)


def _fold(database: Database, columns: Sequence[str], *, may_delete: bool) -> int:
    """Fills `folded`; returns how many frame documents that saves. Table `framed(media, protected)`: videos
    with frame documents in place, and whether any of those is that of a rejected row."""
    same = " AND ".join(
        f"(count({c}) = 0 OR (count({c}) = count(*) AND min({c}) = max({c})))" for c in columns
    )
    video, _, _ = sql.parse_frame("d.target")
    database.run(
        f"""
        CREATE TABLE framed AS
        SELECT media, bool_or(protected) AS protected FROM (
            SELECT {video} AS media, p.target IS NOT NULL AS protected
            FROM documents d
            ANTI JOIN media m ON m.target = d.target
            LEFT JOIN protected p ON p.target = d.target
        ) WHERE media IS NOT NULL GROUP BY media
        """
    )
    # One that may not go would stay beside the document of the video.
    staying = "SELECT media FROM framed" + (" WHERE protected" if may_delete else "")
    database.run(
        f"""
        INSERT INTO folded
        SELECT r.media, m.target
        FROM (
            SELECT media, count(*) AS frames FROM recorded WHERE kind = 'frame'
            GROUP BY media HAVING {same or "true"}
        ) r
        JOIN frames f ON f.media = r.media AND f.frames = r.frames AND f.frames > 1
        JOIN media m ON m.path = r.media
        ANTI JOIN (SELECT media FROM recorded WHERE kind = 'video') own ON own.media = r.media
        ANTI JOIN (SELECT target FROM collisions UNION ALL SELECT target FROM protected) t
            ON t.target = m.target
        ANTI JOIN ({staying}) s ON s.media = r.media
        """
    )
    saved: int = database.value(
        "SELECT count(*) FROM recorded r JOIN folded f ON r.kind = 'frame' AND f.media = r.media"
    )
    return saved


def _text(entry: Entry, default: Any) -> str | None:
    """The canonical JSON text of a default, as a document would have it; None where it would have none."""
    is_number = isinstance(default, int) and not isinstance(default, bool)
    return json_text(float(default) if is_number and entry.type is ValueType.NUMERIC_FLOAT else default)


def _only_defaults(keys: Sequence[KeyPath], defaults: Mapping[str, str | None]) -> str:
    """SQL: whether each value of a row of `c` is left out, or the default of its entry."""
    terms = []
    for n, key in enumerate(keys):
        default = defaults.get(join_path(key))
        same = f" OR c.v{n} = {sql.quote_text(default)}" if default is not None else ""
        terms.append(f"(c.v{n} IS NULL{same})")
    return " AND ".join(terms) or "true"


def _without_document(row: str, only_defaults: str) -> str:
    """SQL: whether a row of `compacted` needs no document."""
    in_place = f"{row}.target IN (SELECT target FROM documents)"
    own_video = "SELECT media FROM compacted WHERE kind = 'video'"
    video_in_place = "SELECT path FROM media WHERE target IN (SELECT target FROM documents)"
    of_video = f"{row}.media IN ({own_video}) OR {row}.media IN ({video_in_place})"
    # A folded one replaces the documents of its frames, which go when it is there.
    replaces = f"{row}.media IN (SELECT media FROM framed)"
    return (
        f"({only_defaults}) AND NOT {in_place} AND CASE {row}.kind "
        f"WHEN 'frame' THEN NOT ({of_video}) WHEN 'video' THEN NOT {replaces} ELSE true END"
    )


def _name_changed_defaults(database: Database, keys: Sequence[KeyPath], how: Compaction, now: str) -> None:
    """A finding for each default that somebody changed since the last run left documents out by it."""
    used = how.used()
    changed = [
        (entry, used[entry.path])
        for entry in how.entries
        if entry.path in used and _text(entry, used[entry.path]) != _text(entry, entry.default)
    ]
    for entry, before in changed:
        then = _only_defaults(
            keys,
            {each.path: _text(each, before if each is entry else each.default) for each in how.entries},
        )
        needed: int = database.value(
            f"SELECT count(*) FROM compacted c WHERE {_without_document('c', then)} AND NOT ({now})"
        )
        documents = "1 document" if needed == 1 else f"{needed:,} documents"
        database.finding(
            Code.SCHEMA_DEFAULT_CHANGED,
            "warning" if needed else "info",
            f"the default of {entry.path} was {_text(entry, before)} when the last run left documents out, "
            f"and is {_text(entry, entry.default)} now: {documents} that said the old default "
            f"{'is' if needed == 1 else 'are'} needed now",
            advice="nothing, where that is meant; else put the default back in schema.json",
        )
