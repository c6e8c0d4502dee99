"""Why a name matches no media: letter case, Unicode form, a prefix too many or too few, or the
nearest names. Only for messages; nothing is matched by it.

The work is bounded: the cheap checks are joins over a sample of the unmatched names, the nearest
names are looked for only for the first few.
"""

from __future__ import annotations

from typing import Final

from metaferry.findings import Code
from metaferry.planning.database import Database
from metaferry.planning.sql import rules as sql

_SAMPLE: Final = 10_000
_NEAREST: Final = 20


def find_hints(database: Database, sources: int) -> None:
    """Table `hints(given, hint)` for unmatched names of all sources; first reason found wins."""
    database.run("CREATE TABLE hints (given VARCHAR, hint VARCHAR)")
    names = " UNION ".join(
        f"SELECT given, name FROM match_{i} WHERE code = '{Code.RECORD_UNMATCHED}'" for i in range(sources)
    )
    database.run(
        f"CREATE TABLE unmatched AS SELECT given, min(name) AS name FROM ({names}) "
        f"GROUP BY given ORDER BY given LIMIT {_SAMPLE}"
    )
    if not database.value("SELECT count(*) FROM unmatched"):
        return
    if not database.value("SELECT count(*) FROM media"):
        no_media = "'the input holds no media at all: check `input`'"
        _add(database, f"SELECT given, {no_media} AS hint FROM unmatched")
        return
    _by_form(database)
    _by_prefix(database)
    _by_basename(database)
    _by_likeness(database)


def _add(database: Database, query: str) -> None:
    """Adds hints for names that have none yet; `query` gives (given, hint)."""
    database.run(
        f"""
        INSERT INTO hints SELECT q.given, min(q.hint) FROM ({query}) q
        WHERE q.given NOT IN (SELECT given FROM hints) GROUP BY q.given
        """
    )


def _by_form(database: Database) -> None:
    """The same but for Unicode form (NFC, NFD) or letter case."""
    _add(
        database,
        """
        SELECT p.given, CASE
            WHEN nfc_normalize(m.path) = nfc_normalize(p.name)
                THEN 'the media is called the same in another Unicode form (NFC or NFD): '
                     || 'write the name as the store has it'
            ELSE 'it differs in letter case only: the media is called ' || m.path END AS hint
        FROM unmatched p JOIN media m ON lower(nfc_normalize(m.path)) = lower(nfc_normalize(p.name))
        """,
    )


def _by_prefix(database: Database) -> None:
    """A record's name with folders (or a whole URL) in front of a media path."""
    _add(
        database,
        """
        SELECT p.given,
               'it matches ' || p.rest || ' without the leading ' || p.lead
               || ': file_name: replace(<column>, ''' || replace(p.lead, '''', '''''') || ''', '''')' AS hint
        FROM (
            SELECT given, substr(given, 1, length(given) - length(rest)) AS lead, rest
            FROM (
                SELECT given, unnest(list_transform(range(2, len(parts) + 1),
                                     lambda n: array_to_string(parts[n:], '/'))) AS rest
                FROM (SELECT given, string_split(given, '/') AS parts FROM unmatched)
            )
        ) p JOIN media m ON m.path = p.rest
        """,
    )


def _by_basename(database: Database) -> None:
    """A record that names the file only, where the media lies in folders."""
    _add(
        database,
        """
        SELECT p.given, CASE WHEN count(*) = 1
                 THEN 'the media lies in a folder: ' || min(m.path)
                 ELSE count(*) || ' media have this name in different folders, such as ' || min(m.path)
               END AS hint
        FROM unmatched p JOIN media m ON ends_with(m.path, '/' || p.name)
             AND parse_filename(m.path) = parse_filename(p.name)
        GROUP BY p.given
        """,
    )


def _by_likeness(database: Database) -> None:
    """The nearest names, for the first few that nothing else explains."""
    left = database.rows(
        "SELECT given, name FROM unmatched WHERE given NOT IN (SELECT given FROM hints) "
        f"ORDER BY given LIMIT {_NEAREST}"
    )
    for given, name in left:
        near = database.rows(
            f"""
            SELECT path FROM (
                SELECT path, jaro_winkler_similarity(path, {sql.quote_text(name)}) AS likeness FROM media
            ) WHERE likeness > 0.85 ORDER BY likeness DESC, path LIMIT 3
            """
        )
        if near:
            names = ", ".join(path for (path,) in near)
            database.run("INSERT INTO hints VALUES (?, ?)", [given, f"the nearest names are {names}"])
