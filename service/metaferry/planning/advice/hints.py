"""Why a name matches no media: it is written as another system writes it, has a prefix too many or too few,
differs in letter case or Unicode form; or the nearest names. Only for messages; nothing is matched by it.

The work is bounded: the cheap checks are joins over a sample of the names of each source, the nearest names
are looked for only for the first few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa

from metaferry.findings import Code
from metaferry.planning.advice.repairs import Repair, applied, attempted, combined, said
from metaferry.planning.advice.spelling import SHOWN, Difference, present_steps, written
from metaferry.planning.database import Database
from metaferry.planning.records.media_names import name_of
from metaferry.planning.sql import rules as sql
from metaferry.tables.model import Loaded

_SAMPLE: Final = 10_000
_NEAREST: Final = 20
_HINTS: Final = pa.schema([("source", pa.string()), ("given", pa.string()), ("hint", pa.string())])


def find_hints(database: Database, sources: Sequence[Loaded]) -> None:
    """Table `hints(source, given, hint)`, by the source's label and the first characters of the name.

    For unmatched names and those that are refused for how they are written; the first reason found wins.
    """
    database.create_like("hints", _HINTS)
    any_media = database.value("SELECT count(*) FROM media")
    for index, source in enumerate(sources):
        database.run(
            f"""
            CREATE OR REPLACE TEMP TABLE unmatched AS
            SELECT given, min(name) AS name, bool_and(code = '{Code.RECORD_UNMATCHED}') AS strange
            FROM match_{index} WHERE code IN ('{Code.RECORD_UNMATCHED}', '{Code.NAME_HOSTILE}')
            GROUP BY given ORDER BY given LIMIT {_SAMPLE}
            """
        )
        if not database.value("SELECT count(*) FROM unmatched"):
            continue
        database.run("CREATE OR REPLACE TEMP TABLE found (given VARCHAR, hint VARCHAR)")
        if not any_media:
            _add(
                database,
                "SELECT given, 'the input holds no media at all: check `input`' AS hint FROM unmatched",
            )
        else:
            _by_form(database, source.match)
            _by_spelling(database, source)
            if source.match == "path":
                _by_basename(database)
            _by_likeness(database, source.match)
        database.run(
            f"""
            INSERT INTO hints SELECT {sql.quote_text(source.label)}, left(given, {SHOWN}), min(hint)
            FROM found f ANTI JOIN hints h
            ON h.source = {sql.quote_text(source.label)} AND h.given = left(f.given, {SHOWN})
            GROUP BY left(given, {SHOWN})
            """
        )


def _add(database: Database, query: str) -> None:
    """Adds hints for names that have none yet; `query` gives (given, hint)."""
    database.run(
        f"""
        INSERT INTO found SELECT q.given, min(q.hint) FROM ({query}) q
        WHERE q.given NOT IN (SELECT given FROM found) GROUP BY q.given
        """
    )


def _by_form(database: Database, match: str) -> None:
    """The same but for Unicode form (NFC, NFD) or letter case."""
    name = name_of("m.path", match)
    _add(
        database,
        f"""
        SELECT p.given, CASE
            WHEN nfc_normalize({name}) = nfc_normalize(p.name)
                THEN 'the media is called the same in another Unicode form (NFC or NFD): '
                     || 'write the name as the store has it'
            ELSE 'it differs in letter case only: the media is called "' || m.path || '"' END AS hint
        FROM unmatched p JOIN media m ON lower(nfc_normalize({name})) = lower(nfc_normalize(p.name))
        WHERE p.strange
        """,
    )


def _by_spelling(database: Database, source: Loaded) -> None:
    """A name as another system writes it, or with folders (or a whole URL) in front: the line to write."""
    for steps in combined(present_steps(database, "unmatched")):
        mended = sql.clean_name(attempted(steps, "given"))
        if steps:
            _take(database, source, steps, f"SELECT given, {mended} AS mended, '' AS lead FROM unmatched")
        if source.match == "path":
            _take(
                database,
                source,
                steps,
                f"""
                SELECT given, rest AS mended, substr(whole, 1, length(whole) - length(rest)) AS lead
                FROM (
                    SELECT given, whole, unnest(list_transform(range(2, len(parts) + 1),
                                               lambda n: array_to_string(parts[n:], '/'))) AS rest
                    FROM (
                        SELECT given, {attempted(steps, "given")} AS whole, string_split(whole, '/') AS parts
                        FROM unmatched
                    )
                )
                """,
            )


def _take(database: Database, source: Loaded, steps: Sequence[Repair], query: str) -> None:
    """Hints of the names that become media so; `query` gives (given, mended, lead)."""
    name = name_of("m.path", source.match)
    mended = "c.mended" if source.match == "path" else name_of("c.mended", source.match)
    rows = database.rows(
        f"""
        SELECT c.given, min(struct_pack(lead := c.lead, path := m.path)) AS made
        FROM ({query}) c JOIN media m ON {name} = {mended}
        WHERE c.given NOT IN (SELECT given FROM found) GROUP BY c.given ORDER BY c.given
        """
    )

    def hints() -> Iterator[tuple[str, str]]:
        for given, made in rows:
            expression = Difference(cut=made["lead"]).expression(applied(steps, source.file_name))
            what = said(steps)
            if made["lead"]:
                what = f"{what}, with" if what else "has"
                what = f'{what} "{made["lead"]}" in front'
            line = written("video" if source.frames.kind == "joined" else "file_name", expression)
            yield given, f'the name {what}: {line} makes it "{made["path"]}"'

    database.insert_rows("found", pa.schema([("given", pa.string()), ("hint", pa.string())]), hints())


def _by_basename(database: Database) -> None:
    """A record that names the file only, where the media lies in folders."""
    _add(
        database,
        """
        SELECT p.given, CASE WHEN count(*) = 1
                 THEN 'the media lies in a folder: "' || min(m.path) || '"; `match: basename` finds it'
                 ELSE count(*) || ' media have this name in different folders, such as "'
                      || min(m.path) || '"'
               END AS hint
        FROM unmatched p JOIN media m ON ends_with(m.path, '/' || p.name)
             AND parse_filename(m.path) = parse_filename(p.name)
        WHERE p.strange GROUP BY p.given
        """,
    )


def _by_likeness(database: Database, match: str) -> None:
    """The nearest names, for the first few that nothing else explains."""
    left = database.rows(
        "SELECT given, name FROM unmatched WHERE strange AND given NOT IN (SELECT given FROM found) "
        f"ORDER BY given LIMIT {_NEAREST}"
    )
    path = name_of("path", match)
    for given, name in left:
        near = database.rows(
            f"""
            SELECT path FROM (
                SELECT path, jaro_winkler_similarity({path}, {sql.quote_text(name)}) AS likeness FROM media
            ) WHERE likeness > 0.85 ORDER BY likeness DESC, path LIMIT 3
            """
        )
        if near:
            names = ", ".join(f'"{path}"' for (path,) in near)
            database.run("INSERT INTO found VALUES (?, ?)", [given, f"the nearest names are {names}"])
