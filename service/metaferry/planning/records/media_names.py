"""By what a row's name and a media file are the same: the path, base name or stem (`sources[].match`).

A base name joins only where one media file alone has it, judged over all media that were listed, excluded
ones too. All in SQL. Imported by `match` and the advice.
"""

from __future__ import annotations

from typing import Final

from metaferry.findings import Code
from metaferry.planning.database import Database

#: Media that a message about a name that several have names.
_CANDIDATES: Final = 5


def name_of(path: str, match: str) -> str:
    """SQL of what a source with that `match` knows the media under a path by."""
    if match == "path":
        return path
    return f"parse_filename({path}, {str(match == 'stem').lower()}, 'forward_slash')"


def names_given(match: str, given: str) -> list[str]:
    """SQL of the names that a row may know its media by, of what its expression gave.

    For stems the base name as it stands and without an extension: `0001.v2` may be either.
    """
    return [f"basename({given})"] if match == "basename" else [f"basename({given})", f"stem({given})"]


def index_names(database: Database, match: str) -> str:
    """The table of all names of media, `(name, media, path, included)`: how many media have it, the first of
    them, and whether any of them is included. Answers what it is called; it is made once."""
    table = f"media_by_{match}"
    database.run(
        f"""
        CREATE TABLE IF NOT EXISTS {table} AS
        SELECT {name_of("path", match)} AS name, count(*) AS media, min(path) AS path,
               bool_or(included) AS included
        FROM media GROUP BY ALL
        """
    )
    return table


def name_candidates(database: Database, index: int, match: str) -> None:
    """Puts the media that an ambiguous name could mean into `detail` of the table `named_i`."""
    if not database.value(f"SELECT count(*) FROM named_{index} WHERE code = '{Code.RECORD_AMBIGUOUS}'"):
        return
    names = ", ".join(names_given(match, "given"))
    database.run(
        f"""
        UPDATE named_{index} SET detail = c.named FROM (
            SELECT given, '"' || array_to_string(paths, '", "') || '"'
                   || CASE WHEN number > len(paths) THEN ' and ' || number - len(paths) || ' more' ELSE '' END
                   AS named
            FROM (
                SELECT a.given, min(m.path, {_CANDIDATES}) AS paths, count(DISTINCT m.path) AS number
                FROM (
                    SELECT DISTINCT given, unnest(list_distinct([{names}])) AS name FROM named_{index}
                    WHERE code = '{Code.RECORD_AMBIGUOUS}'
                ) a JOIN media m ON {name_of("m.path", match)} = a.name GROUP BY a.given
            )
        ) c WHERE c.given = named_{index}.given AND code = '{Code.RECORD_AMBIGUOUS}'
        """
    )
