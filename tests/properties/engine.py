"""One engine connection for property tests, and values that are chosen to hurt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import strategies as st

from metaferry.lightly.values import DECIMAL_LITERAL


@cache
def connection() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("SET threads = 1").fetchall()
    # Nothing may depend on the session's time zone, so the tests do not run in UTC.
    con.execute("SET TimeZone = 'Asia/Kathmandu'").fetchall()
    return con


def evaluate(
    expressions: Sequence[str], values: Sequence[Any], arrow: pa.DataType, sql_type: str = ""
) -> list[tuple[Any, ...]]:
    """The expressions over a column `x` holding the values, in their order.

    `sql_type` casts the column first, to types that Arrow has no word for.
    """
    return evaluate_table(expressions, {"x": (list(values), arrow, sql_type)})


def evaluate_table(
    expressions: Sequence[str], columns: dict[str, tuple[list[Any], pa.DataType, str]]
) -> list[tuple[Any, ...]]:
    """The expressions over columns of one length, in order."""
    con = connection()
    table = pa.table({name: pa.array(values, type=arrow) for name, (values, arrow, _) in columns.items()})
    rows = range(table.num_rows)
    con.register("given", table.append_column("nth", pa.array(list(rows), type=pa.int64())))
    try:
        casts = ", ".join(
            f"{name}::{sql} AS {name}" if sql else name for name, (_, _, sql) in columns.items()
        )
        query = f"SELECT {', '.join(expressions)} FROM (SELECT nth, {casts} FROM given) ORDER BY nth"
        return con.execute(query).fetchall()
    finally:
        con.unregister("given")


#: Any text that the engine can hold: everything but lone surrogates.
unicode_text = st.text(st.characters(exclude_categories=["Cs"]))

_PIECES = [
    "a", "B", ".", "..", "/", "//", "./", "-", "0", "099", "00000000000000000000", "mp4", "MP4", "Mov",
    "avi", "avı", "json", "png", "PNG", "schema", ".lightly/", "/.lightly/", ".metaferry/",
    "/.metaferry/", ".lightly/metadata/",
    "\\", '"', "'", "\n", "\r", "\t", "\x00", "\x1f", "\x7f", "\x85", "\x9f", "\xa0", "é", "e\u0301",
    "ı", "İ", "ſ", "K", " ", "_", "%", "$", "^", "😀", "٣", "\u2028", "\ufeff", "\\1", "{}",
]  # fmt: skip

#: Names as buckets and tables hold them, and as nobody should write them.
names = st.one_of(
    st.lists(st.sampled_from(_PIECES), max_size=8).map("".join),
    st.builds("{}-{}-{}.json".format, st.sampled_from([".lightly/metadata/a", ".lightly/metadata/s/b", "c"]),
              st.sampled_from(["0", "00", "7", "099", "x", "1" * 18, "1" * 19]),
              st.sampled_from(["mp4", "MP4", "png", "avı", "webm"])),
    unicode_text,
)  # fmt: skip

_NUMBERS = [
    "1", "0", "00", "5", "9007199254740992", "9007199254740993", "170141183460469231731687303715884105728",
    ".", "+", "-", "e", "E", "400", "_", ",", " ", "\n", "\x00", "x", "0x", "٣", "nan", "inf", "Infinity",
    "true", "FALSE", "ſ", "t",
]  # fmt: skip
_DATES = ["2026-01-02", "2026-02-30", "0000-01-01", "T", " ", "03:04", ":05", ".5", "Z", "+02", "+02:30"]

#: Text that is nearly, or really, a number, a boolean or a date.
nearly = st.one_of(
    st.lists(st.sampled_from(_NUMBERS), max_size=5).map("".join),
    st.lists(st.sampled_from(_DATES), max_size=5).map("".join),
    st.from_regex(DECIMAL_LITERAL, fullmatch=True),
    st.floats().map(repr),
    st.integers().map(str),
    st.integers(-(2**53) - 5, -(2**53) + 5).map(str),
    st.integers(2**53 - 5, 2**53 + 5).map(lambda number: f"{number}.00"),
    unicode_text,
)

#: Doubles, with those where rules change over-represented.
floats = st.one_of(
    st.floats(),
    st.integers(-(2**54), 2**54).map(float),
    st.sampled_from([0.0, -0.0, 2.0**53, 2.0**53 + 2, -(2.0**53), 0.5, 1e16, 1e15, 1e-5, 1e-4, 9999999.5]),
)
