"""Macros for what is often written about paths, in expressions and in every engine that evaluates them.

Both `/` and `\\` part folders, so that paths of Windows need nothing before. All give null for null;
docs/tables.md has the rules. They are functions of their arguments alone, as all of an expression has to be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import duckdb

_BASENAME: Final = r"regexp_extract(p::VARCHAR, '([^/\\]*)[/\\]*$', 1)"

#: By name: the parameters, and the SQL over them.
MACROS: Final = {
    "basename": ("p", _BASENAME),
    "dirname": (
        "p",
        r"regexp_replace(regexp_replace(p::VARCHAR, '[/\\]+$', ''), '(^|[/\\]+)[^/\\]*$', '')",
    ),
    # A dot in front begins no extension.
    "stem": ("p", rf"regexp_replace({_BASENAME}, '(?s)^(.+)\.[^.]*$', '\1')"),
    "path_part": ("p, n", r"nullif(string_split_regex(trim(p::VARCHAR, '/\'), '[/\\]+')[n::BIGINT], '')"),
}


def define_macros(con: duckdb.DuckDBPyConnection) -> None:
    """Makes the macros known to an engine, for as long as it is open; also to one that is sealed."""
    for name, (parameters, sql) in MACROS.items():
        con.execute(f"CREATE OR REPLACE TEMP MACRO {name}({parameters}) AS {sql}").fetchall()
