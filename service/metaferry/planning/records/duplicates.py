"""Several rows of one source for one document: those that differ are rejected, those that agree used once.

Imported by `match` and `values`. All in SQL, over the rows of documents that have several.
"""

from __future__ import annotations

from typing import Final

from metaferry.findings import Code
from metaferry.planning.database import Database
from metaferry.planning.records.query_rows import row_text
from metaferry.planning.sql import rules as sql
from metaferry.tables.model import Loaded

#: Rows that a message about duplicates names.
_PLACES: Final = 5


def find_duplicates(database: Database, source: Loaded, index: int) -> None:
    """Several rows of one source for one document: where they differ, any may be wrong, so all are rejected.

    Those that say the same are left to `settle_repeated`, in the table `same_i(target)`.
    """
    database.run(
        f"""
        CREATE TABLE several AS
        SELECT target FROM match_{index} WHERE code IS NULL GROUP BY target HAVING count(*) > 1
        """
    )
    # As the text that documents would have: 0.0 and -0.0 are equal to the engine.
    values = "".join(
        f", {sql.json_value('s.' + sql.quote_ident(key.column), key.type)} AS v{n}"
        for n, key in enumerate(source.keys)
    )
    database.run(
        f"""
        CREATE TABLE same_{index} AS
        SELECT target FROM (
            SELECT DISTINCT m.target{values}
            FROM match_{index} m SEMI JOIN several USING (target) JOIN {source.table} s ON s.rowid = m.rid
            WHERE m.code IS NULL
        ) GROUP BY target HAVING count(*) = 1
        """
    )
    database.run(
        f"""
        CREATE TABLE duplicates AS
        SELECT target, min(struct_pack(file := file, r := "row"), {_PLACES}) AS places
        FROM match_{index} SEMI JOIN (FROM several ANTI JOIN same_{index} USING (target)) USING (target)
        WHERE code IS NULL GROUP BY target
        """
    )
    database.run("DROP TABLE several")
    if source.is_query:
        _name_by_values(database, source, index)
    elif database.value("SELECT count(*) FROM duplicates"):
        several = len(source.files) > 1
        place = (
            f"(SELECT url FROM files_{index} WHERE file = p.file) || ':' || p.r"
            if several
            else "'row ' || p.r"
        )
        database.run(
            f"""
            UPDATE match_{index} SET code = '{Code.RECORD_DUPLICATE}', detail = r.named
            FROM (
                SELECT target, string_agg({place}, ', ' ORDER BY p.file, p.r) AS named
                FROM (SELECT target, unnest(places) AS p FROM duplicates) GROUP BY target
            ) r WHERE r.target = match_{index}.target AND code IS NULL
            """
        )
    database.run("DROP TABLE duplicates")


def _name_by_values(database: Database, source: Loaded, index: int) -> None:
    """For rows of a query, which have no lines."""
    database.run(
        f"""
        UPDATE match_{index} SET code = '{Code.RECORD_DUPLICATE}', detail = r.named
        FROM (
            SELECT m.target, array_to_string(min({row_text(source, "s")}, {_PLACES}), '; ') AS named
            FROM match_{index} m SEMI JOIN duplicates USING (target) JOIN {source.table} s ON s.rowid = m.rid
            WHERE m.code IS NULL GROUP BY m.target
        ) r WHERE r.target = match_{index}.target AND code IS NULL
        """
    )


def settle_repeated(database: Database, source: Loaded, index: int) -> None:
    """Of rows that say the same of one document the first is used; the others are marked, and one finding
    counts them.

    To be called when values have been checked: rows with the same fault are all rejected.
    """
    database.run(
        f"""
        CREATE TABLE first AS
        SELECT target, min(struct_pack(file := file, r := "row", rid := rid)) AS place
        FROM match_{index} SEMI JOIN same_{index} USING (target) WHERE code IS NULL GROUP BY target
        """
    )
    if database.value("SELECT count(*) FROM first"):
        database.run(
            f"""
            UPDATE match_{index} SET code = '{Code.RECORD_REPEATED}' FROM first
            WHERE first.target = match_{index}.target AND code IS NULL AND rid <> first.place.rid
            """
        )
        database.run(
            f"""
            INSERT INTO findings
            SELECT '{Code.RECORD_REPEATED}', 'info', {_repeated_message("total")},
                   'nothing, or take them out of the table', {sql.quote_text(source.label)}, f.url,
                   m."row", '', m.target
            FROM (
                SELECT file, "row", target, count(*) OVER () AS total FROM match_{index}
                WHERE code = '{Code.RECORD_REPEATED}' ORDER BY file, "row", target LIMIT 1
            ) m JOIN files_{index} f USING (file)
            """
        )
    for table in ("first", f"same_{index}"):
        database.run(f"DROP TABLE {table}")


def _repeated_message(total: str) -> str:
    return (
        f"CASE WHEN {total} = 1 THEN 'this row says' "
        f"ELSE format('{{:,}}', {total}) || ' rows, this one first, say' END "
        "|| ' exactly what an earlier row says of the same document: the first is used'"
    )
