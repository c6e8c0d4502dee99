"""Coverage: what each image and video has. Reads the tables `checked`, `media`, and those of a plan."""

from __future__ import annotations

from collections.abc import Sequence

from metaferry.findings import Code
from metaferry.lightly.key_paths import split_path
from metaferry.lightly.names import Kind
from metaferry.lightly.schema import Entry
from metaferry.planning.database import Database
from metaferry.planning.sql.rules import quote_text
from metaferry.view.check.found import TABLE, CheckReport, Coverage
from metaferry.view.check.reading import DEFAULT, INVALID, UNKNOWN, VALUES

_MISSING = "its media shows the default of every entry"
_DEFAULT = "it has no value of any entry, so only defaults are shown"


def cover(database: Database, report: CheckReport, entries: Sequence[Entry], *, planned: bool) -> None:
    """Fills `report.coverage`, and adds media without a document or with defaults alone to the findings."""
    if planned:
        _from_plan(database, entries)
    _inherit(database)
    best = {VALUES: 4, UNKNOWN: 3, DEFAULT: 2}
    rank = f"CASE c.state {' '.join(f'WHEN {quote_text(s)} THEN {n}' for s, n in best.items())} ELSE 0 END"
    database.run(
        f"""
        CREATE TABLE covered AS
        SELECT m.path, m.kind, m.target,
               CASE WHEN bool_or(c.state = '{INVALID}' AND c.kind <> '{Kind.FRAME}') THEN '{INVALID}'
                    WHEN max({rank}) > 0 THEN arg_max(c.state, {rank}) ELSE 'missing' END AS state
        FROM media m LEFT JOIN (
            SELECT media AS path, state, kind FROM checked WHERE file_name IS NOT NULL AND shared IS NULL
            UNION ALL
            SELECT s.file_name, state, s.kind FROM (SELECT state, unnest(shared) AS s FROM checked)
        ) c ON c.path = m.path
        WHERE m.included GROUP BY m.path, m.kind, m.target
        """
    )
    for kind in (Kind.IMAGE, Kind.VIDEO):
        counts = dict(
            database.rows(f"SELECT state, count(*) FROM covered WHERE kind = '{kind}' GROUP BY state")
        )
        if counts:
            report.coverage[str(kind)] = Coverage(**counts)
    database.run(
        f"""
        INSERT INTO {TABLE}
        SELECT CASE state WHEN 'missing' THEN '{Code.DOCUMENT_MISSING}' ELSE '{Code.DOCUMENT_DEFAULT}' END,
               'info', target, kind, path, 0, 0,
               CASE state WHEN 'missing' THEN {quote_text(_MISSING)} ELSE {quote_text(_DEFAULT)} END, ''
        FROM covered WHERE state IN ('missing', '{DEFAULT}')
        """
    )
    database.run("DROP TABLE covered")


def _from_plan(database: Database, entries: Sequence[Entry]) -> None:
    """The states of documents that a plan keeps, by the bytes that it made."""
    pointers = ["/metadata/" + "/".join(map(_escaped, split_path(entry.path))) for entry in entries]
    has = " OR ".join(
        f"coalesce(json_type(w.body, {quote_text(pointer)}), 'NULL') <> 'NULL'" for pointer in pointers
    )
    database.run(
        f"UPDATE checked SET state = CASE WHEN {has or 'false'} THEN '{VALUES}' ELSE '{DEFAULT}' END "
        "FROM wanted w WHERE w.target = checked.target AND checked.proved"
    )


def _inherit(database: Database) -> None:
    """A frame without values of its own shows those of its video."""
    database.run(
        f"UPDATE checked SET state = '{VALUES}' WHERE kind = '{Kind.FRAME}' AND state = '{DEFAULT}' "
        f"AND media IN (SELECT media FROM checked WHERE kind = '{Kind.VIDEO}' AND state = '{VALUES}')"
    )


def _escaped(step: str) -> str:
    """A key as a step of a JSON pointer."""
    return step.replace("~", "~0").replace("/", "~1")
