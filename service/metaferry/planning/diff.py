"""Wanted documents against the documents in place: the plan, one action a document.

Facts are gathered in SQL, the action is the truth table of `actions.py`. Equality is never a
guess: the md5 in the listing, or the ledger's md5 under the same token, or it is written again.
A token that looks like an MD5 may not be one; where it differs, the ledger decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from metaferry.findings import Code
from metaferry.lightly.names import DOCUMENTS
from metaferry.planning.actions import action_sql
from metaferry.planning.database import Database
from metaferry.planning.sql import rules as sql

#: Rows of a shard, about: minutes of work, so that repeating one costs little.
_SHARD_ROWS = 50_000

#: Why a document is left whose media is not known, where not all media are.
NOT_KNOWN_GONE: Final = "skipped: its media may be newer than the list of media"


def needs_ledger(database: Database, *, delete_orphans: bool) -> bool:
    """Whether any document in place would change, unless the ledger proves that it is equal.

    Reads the table `unwanted`.
    """
    found: int = database.value(
        f"""
        SELECT count(*) FROM (
            SELECT 1 FROM wanted w JOIN documents d USING (target)
            WHERE d.md5 IS NULL OR d.md5 <> w.md5
            UNION ALL
            SELECT 1 FROM unwanted WHERE replaced OR (orphan AND {str(delete_orphans).lower()})
            LIMIT 1
        )
        """
    )
    return bool(found)


def build_plan(
    database: Database,
    *,
    limit: int | None,
    delete_orphans: bool,
    ledger_complete: bool,
) -> None:
    """Table `decided`: one row a document, with its action, and the findings about documents.

    Reads `wanted`, `unwanted`, `documents`, `damaged` and `ledger(target, token, md5)`. The ledger is not
    `ledger_complete` after a run that was cut off: what it wrote would look like an external change.
    """
    # A document with another token in the ledger was changed externally, or by a run of ours that never
    # wrote its ledger: then it is as unknown as one that the ledger does not have.
    known = "d.target IS NOT NULL AND l.token IS NOT NULL"
    other = f"{known} AND l.token <> d.token"
    changed = other if ledger_complete else "false"
    unknown = f"d.target IS NOT NULL AND NOT ({known})" + ("" if ledger_complete else f" OR ({other})")
    # An ETag that looks like an MD5 is one for most objects of S3, and random digits for those encrypted with
    # a customer's key; a listing cannot distinguish them, but the ledger has the MD5 for this token.
    by_ledger = (
        "d.md5 IS DISTINCT FROM w.md5 AND (d.md5 IS NULL OR d.md5 = d.token) "
        "AND coalesce(l.token = d.token, false)"
    )
    action = action_sql(
        {
            "wanted": "wanted",
            "exists": "present",
            "equal": "equal",
            "stale": "stale",
            "replaced": "replaced",
            "orphan": "orphan",
            "delete_orphans": str(delete_orphans).lower(),
        }
    )
    database.run(
        f"""
        CREATE TABLE decided AS
        SELECT target, kind, media, {action} AS action, md5, size, token AS expect, orphan,
               changed_since AND NOT damaged AS changed_since, unknown AND NOT damaged AS unknown,
               damaged, wid, expect_size,
               expect_size IS NOT NULL AND NOT unknown AND NOT changed_since AS ours,
               CASE WHEN replaced THEN replacement END AS replacement,
               CASE WHEN wanted AND NOT present THEN 'new'
                    WHEN wanted AND damaged THEN 'written again: an earlier run read back other bytes'
                    WHEN wanted AND proof = 'listing' AND equal THEN 'unchanged: md5 in the listing'
                    WHEN wanted AND equal THEN 'unchanged: as our last run left it'
                    WHEN wanted AND proof IS NULL THEN 'written again: nothing proves what is there'
                    WHEN wanted THEN 'content differs'
                    ELSE reason END AS why
        FROM (
            SELECT coalesce(w.target, d.target) AS target, w.target IS NOT NULL AS wanted,
                   d.target IS NOT NULL AS present, coalesce(w.kind, u.kind) AS kind,
                   coalesce(w.media, u.media) AS media, w.md5, w.size, d.token, d.size AS expect_size,
                   w.rowid AS wid,
                   CASE WHEN {by_ledger} THEN 'ledger' WHEN d.md5 IS NOT NULL THEN 'listing' END AS proof,
                   coalesce(CASE WHEN {by_ledger} THEN l.md5 ELSE d.md5 END = w.md5, false)
                       AND g.target IS NULL AS equal,
                   g.target IS NOT NULL AS damaged,
                   coalesce(u.stale, false) AS stale, coalesce(u.replaced, false) AS replaced,
                   u.replacement, coalesce(u.orphan, false) AS orphan, u.reason,
                   {changed} AS changed_since, {unknown} AS unknown
            FROM wanted w
            FULL JOIN documents d ON d.target = w.target
            LEFT JOIN unwanted u ON u.target = d.target
            LEFT JOIN ledger l ON l.target = d.target
            LEFT JOIN (SELECT DISTINCT target FROM damaged) g ON g.target = d.target
        )
        """
    )
    if limit is not None:
        # Writes first: a stale document may not be deleted while its replacement waits for another run.
        database.run(
            """
            UPDATE decided SET action = CASE WHEN action = 'delete' THEN 'skip' ELSE 'defer' END,
                               why = 'beyond --limit (' || action || ')'
            WHERE action IN ('create', 'update', 'delete') AND target NOT IN (
                SELECT target FROM decided WHERE action IN ('create', 'update', 'delete')
                ORDER BY action = 'delete', target LIMIT ?
            )
            """,
            [limit],
        )
    _findings(database, delete_orphans=delete_orphans)


def protect_rejected(database: Database, labels: Sequence[str], of_media: Sequence[str]) -> bool:
    """Table `protected(target)`: documents of rejected rows; returns whether there are rejected rows whose
    document is not known. Reads `collisions`, `rejects`, `media` and the `match_*` tables.

    `labels` are those of the sources, `of_media` of the ones that make a record of each of the media: a file
    of theirs that could not be read is named by the value of its reject, of which 200 characters are kept.
    """
    sources = len(labels)
    known = ", ".join(map(sql.quote_text, labels)) or "''"
    unreadable = f"r.code = '{Code.MEDIA_UNREADABLE}'"
    own = (
        " OR ".join(f"starts_with(r.source, {sql.quote_text(f'{label}.')})" for label in of_media) or "false"
    )
    # Documents of rejected rows stay: the row is at fault, not the document.
    rejected = " UNION ALL ".join(
        f"SELECT target FROM match_{i} WHERE code <> '{Code.RECORD_REPEATED}' AND target IS NOT NULL"
        for i in range(sources)
    )
    database.run(
        f"CREATE TABLE protected AS "
        f"SELECT DISTINCT target FROM ({rejected} UNION ALL SELECT target FROM collisions UNION ALL "
        f"SELECT m.target FROM media m JOIN rejects r ON left(m.path, 200) = r.value "
        f"WHERE {unreadable} AND ({own}))"
    )
    # A rejected row without a known document could have been for any of them.
    unmatched_rejects = " + ".join(
        [
            f"(SELECT count(*) FROM match_{i} WHERE code IS NOT NULL AND target IS NULL "
            f"AND code NOT IN ('{Code.RECORD_UNMATCHED}', '{Code.RECORD_EXCLUDED}'))"
            for i in range(sources)
        ]
        + [
            f"(SELECT count(*) FROM rejects r WHERE r.code = '{Code.SOURCE_MALFORMED}' OR "
            # In the table of a query. Those of frames have the label of a source, and were counted above.
            f"({unreadable} AND NOT ({own}) AND r.source NOT IN ({known})))"
        ]
    )
    return bool(database.value(f"SELECT {unmatched_rejects}"))


def classify_unwanted(
    database: Database, prefix: str, *, unplaced: bool, media_current: bool, delete_orphans: bool
) -> None:
    """Table `unwanted(target, kind, media, stale, replacement, replaced, orphan, reason)`: documents in
    place that no record wants.

    Each gets the one reason why it is there, in this order: it belongs to media of this listing;
    it is named like a frame of a video of this listing; its media is gone. `replacement` is the name
    that the frame of a stale document has now, `replaced` whether there is, or will be, such a document.
    Reads `wanted`, `documents`, `media`, `frames`, `folded` and `protected`. With `unplaced` rejects, any
    document could be that of a rejected row. Unless the media are `media_current`, a document whose media is
    not among them is left: it may be newer than the listing.
    """
    video, frame, written = sql.parse_frame("d.target")
    stem = f"substr(d.target, {len(DOCUMENTS) + 1})"
    database.run(
        f"""
        CREATE TABLE unwanted AS
        SELECT u.target, u.kind, u.media, u.stale, u.replacement, false AS replaced, u.digits,
               reason IN ('media gone', 'no row is for it', 'frame gone') AND r.target IS NULL AS orphan,
               CASE WHEN r.target IS NOT NULL THEN 'skipped: its row was rejected'
                    WHEN u.stale THEN u.reason || '; ' || u.digits ELSE u.reason END AS reason
        FROM (
            SELECT d.target,
                   CASE WHEN m.path IS NOT NULL THEN m.kind WHEN v.path IS NOT NULL THEN 'frame' END AS kind,
                   coalesce(m.path, v.path) AS media,
                   CASE WHEN o.media IS NOT NULL THEN 'all frames say the same: in the document of the video'
                        ELSE 'digits of the frame number: ' || d.written || ' in its name, now ' || f.digits
                   END AS digits,
                   coalesce(
                       h.target IS NULL AND m.path IS NULL AND v.included AND f.frames IS NOT NULL
                       AND (d.written <> f.digits OR o.media IS NOT NULL), false
                   ) AS stale,
                   CASE WHEN stale THEN
                       coalesce(o.target, {sql.frame_document_path("v.path", "d.frame", "f.digits")}) END
                       AS replacement,
                   CASE
                       WHEN h.target IS NOT NULL THEN 'skipped: its row was rejected'
                       WHEN NOT ends_with(d.target, '.json') THEN 'skipped: not a document'
                       WHEN m.refused OR v.refused THEN 'skipped: the name of its media is refused'
                       WHEN m.path IS NOT NULL AND NOT m.included THEN 'skipped: its media is excluded'
                       WHEN m.path IS NOT NULL AND {str(unplaced).lower()}
                           THEN 'skipped: rejected rows could be for it'
                       WHEN m.path IS NOT NULL THEN 'no row is for it'
                       WHEN v.path IS NOT NULL AND NOT v.included THEN 'skipped: its media is excluded'
                       WHEN v.path IS NOT NULL AND f.media IS NOT NULL AND f.frames IS NULL
                           THEN 'skipped: the number of frames is not proved'
                       WHEN v.path IS NOT NULL AND d.frame >= f.frames THEN 'frame gone'
                       WHEN v.path IS NOT NULL AND {str(unplaced).lower()}
                           THEN 'skipped: rejected rows could be for it'
                       WHEN v.path IS NOT NULL THEN 'no row is for it'
                       WHEN NOT starts_with({stem}, {sql.quote_text(prefix)}) THEN 'skipped: outside --prefix'
                       WHEN {str(not media_current).lower()} THEN '{NOT_KNOWN_GONE}'
                       ELSE 'media gone'
                   END AS reason
            FROM (
                SELECT d.target, {video} AS video, {frame} AS frame, {written} AS written
                FROM documents d ANTI JOIN wanted w ON w.target = d.target
            ) d
            LEFT JOIN (SELECT target, min(path) AS path, min(kind) AS kind, bool_and(included) AS included,
                              bool_or(refused) AS refused
                       FROM media GROUP BY target) m ON m.target = d.target
            LEFT JOIN media v ON v.path = d.video AND v.kind = 'video'
            LEFT JOIN frames f ON f.media = v.path
            LEFT JOIN folded o ON o.media = v.path
            LEFT JOIN protected h ON h.target = d.target
        ) u
        LEFT JOIN protected r ON r.target = u.replacement
        """
    )
    # Only now it is known which documents in place stay. None of them is stale itself.
    database.run(
        f"""
        UPDATE unwanted SET replaced = true, orphan = false, reason = digits
        WHERE stale AND (
            replacement IN (SELECT target FROM wanted) OR (
                replacement IN (SELECT target FROM documents) AND replacement NOT IN (
                    SELECT target FROM unwanted WHERE orphan AND {str(delete_orphans).lower()}
                )
            )
        )
        """
    )


def _findings(database: Database, *, delete_orphans: bool) -> None:
    database.run(
        f"""
        INSERT INTO findings
        SELECT '{Code.DOCUMENT_ORPHAN}', 'warning',
               CASE WHEN action = 'delete' THEN 'to be deleted: ' ELSE 'left in place: ' END || why,
               CASE WHEN action = 'delete' THEN ''
                    WHEN {str(delete_orphans).lower()} THEN 'a run without --limit deletes it'
                    ELSE 'policy.delete: orphans would delete it' END,
               '', '', NULL, coalesce(media, ''), target
        FROM decided WHERE orphan
        UNION ALL
        SELECT '{Code.DOCUMENT_STALE}', 'info', 'to be deleted: ' || why, '', '', '', NULL, media, target
        FROM decided WHERE action = 'delete' AND NOT orphan
        UNION ALL
        SELECT '{Code.DOCUMENT_MODIFIED_EXTERNALLY}', 'warning',
               CASE action WHEN 'update' THEN 'to be replaced' ELSE 'to be deleted' END
               || ': somebody else changed it since our last run',
               'keep changes in the tables: documents are made from them', '', '', NULL,
               coalesce(media, ''), target
        FROM decided WHERE action IN ('update', 'delete') AND changed_since
        """
    )


def write_plan(database: Database, *, max_shard_rows: int = _SHARD_ROWS, min_shards: int = 1) -> int:
    """Writes the plan as Parquet below the scratch folder (`plan/shard=NNN/`); returns how many shards.

    The shard of a document is the first 8 hex digits of md5(target), modulo the number of shards:
    the same on every machine and engine.
    """
    rows: int = database.value("SELECT count(*) FROM decided WHERE action <> 'defer'")
    shards = max(min_shards, -(-rows // max_shard_rows))
    place = database.scratch / "plan"
    select = """
        SELECT p.target, p.kind, p.media, p.action,
               CASE WHEN p.action IN ('create', 'update') THEN w.body END AS body,
               p.md5, p.size, p.expect, p.replacement, p.damaged AS read_back, p.expect_size, p.ours, p.why
        FROM decided p LEFT JOIN wanted w ON w.rowid = p.wid AND p.action IN ('create', 'update')
        WHERE p.action <> 'defer'
    """
    partition = ""
    if shards == 1 and rows:  # partitioning costs as much as all the rest
        (place / "shard=000").mkdir(parents=True)
        place /= "shard=000/data_0.parquet"
    else:
        # An intermediate table: a join that just fits into memory leaves none to partition its rows.
        database.run(f"CREATE TABLE joined AS {select}")
        shard = f"printf('%03d', ('0x' || left(md5(target), 8))::UBIGINT % {shards}) AS shard"
        select, partition = f"SELECT {shard}, * FROM joined", ", PARTITION_BY (shard)"
    database.run(
        f"COPY ({select}) TO {sql.quote_text(str(place))} (FORMAT parquet, COMPRESSION zstd{partition})"
    )
    database.run("DROP TABLE IF EXISTS joined")
    return shards
