"""What each listed document is of, by its name and the media that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metaferry.lightly.names import Kind
from metaferry.planning.database import Database
from metaferry.planning.sql import rules as sql
from metaferry.view.tree.document import Named


def names_of(
    kind: str | None, file_name: str | None, shared: Sequence[Mapping[str, str]] | None
) -> tuple[Named, ...]:
    """What a row of `tree_documents` says of the content of its document."""
    if shared:
        return tuple(Named(each["kind"], each["file_name"]) for each in shared)
    return (Named(kind, file_name),) if kind else ()


def classify(database: Database) -> None:
    """Table `tree_documents`: what each document is of by its name; `file_name` is null for orphans.
    `digits` are those of the frame number in its name. `shared` has kind and file_name of each media that
    has this document, where there are several; the first by name stands for them.

    The document of a media of that stem comes before the frame of a video that could be named so.
    """
    video, index, digits = sql.parse_frame("d.target")
    frame_name = sql.frame_file_name("v.path", "f.frame", "f.digits")
    database.run(
        f"""
        CREATE OR REPLACE TABLE tree_documents AS
        SELECT row_number() OVER (ORDER BY target) AS n, * FROM (
            SELECT f.target, f.size,
                   CASE WHEN m.target IS NOT NULL THEN m.kind
                        WHEN f.video IS NOT NULL THEN '{Kind.FRAME}' END AS kind,
                   coalesce(m.path, f.video) AS media,
                   CASE WHEN m.target IS NULL THEN f.frame END AS frame,
                   CASE WHEN m.target IS NULL THEN f.digits END AS digits,
                   CASE WHEN m.target IS NOT NULL THEN m.path
                        WHEN v.path IS NOT NULL THEN {frame_name} END AS file_name,
                   coalesce(m.included, v.included, true) AS included, m.shared
            FROM (
                SELECT d.target, d.size, {video} AS video, {index} AS frame, {digits} AS digits
                FROM documents d WHERE ends_with(d.target, '.json')
            ) f
            LEFT JOIN (
                SELECT target, min(path) AS path, arg_min(kind, path) AS kind,
                       arg_min(included OR refused, path) AS included,
                       CASE WHEN count(*) > 1
                            THEN list({{'kind': kind, 'file_name': path}} ORDER BY path) END AS shared
                FROM media GROUP BY target
            ) m ON m.target = f.target
            LEFT JOIN (SELECT path, included OR refused AS included FROM media WHERE kind = '{Kind.VIDEO}') v
            ON m.target IS NULL AND v.path = f.video
        )
        """
    )
