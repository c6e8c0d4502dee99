"""Queries give the same rows on every run: same rows in another order, in other parts, by other threads."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaferry.tables.model import Column
from metaferry.tables.query import functions
from metaferry.tables.query.prepare import BoundQuery, bind_query, parse_query

SCHEMA = {
    "boxes": [
        Column("image", "VARCHAR"),
        Column("label", "VARCHAR"),
        Column("score", "DOUBLE"),
        Column("n", "INTEGER"),
        Column("price", "DECIMAL(10,2)"),
        Column("kept", "BOOLEAN"),
    ],
    "scenes": [Column("image", "VARCHAR"), Column("weather", "VARCHAR")],
}
#: Arguments of the aggregates that do not take one column of any type.
ARGUMENTS = {
    **{name: "score, n" for name in ("corr", "covar_pop", "covar_samp") if name in functions.ORDERED},
    **{name: "score, n" for name in functions.ORDERED | functions.ANY_ORDER if name.startswith("regr_")},
    **{name: "label, n" for name in functions.ORDERED if name.startswith(("arg_m", "argm"))},
    **dict.fromkeys(("max_by", "min_by"), "label, n"),
    **dict.fromkeys(("quantile", "quantile_cont", "quantile_disc", "approx_quantile"), "score, 0.3"),
    **dict.fromkeys(("string_agg", "group_concat", "listagg"), "label, ','"),
    **dict.fromkeys(("bool_and", "bool_or", "count_if", "countif"), "kept"),
    **dict.fromkeys(("bit_and", "bit_or", "bit_xor"), "n"),
    "bitstring_agg": "n, 0, 30",
    "lttb": "n, score, 3",
    "count_star": "",
    "histogram_exact": "n, [1, 2, 3]",
    "approx_top_k": "label, 3",
}
AGGREGATES = sorted(functions.ANY_ORDER | functions.ORDERED)
QUERIES = [
    "SELECT image, list(DISTINCT label) AS l, sum(score) AS s, sum(n) AS n, sum(price) AS p FROM boxes "
    "GROUP BY image",
    "SELECT image, list(label ORDER BY n) AS l, first(label ORDER BY n DESC) AS f FROM boxes GROUP BY ALL",
    "SELECT DISTINCT ON (image) image, label, n FROM boxes ORDER BY score",
    "SELECT image, label FROM boxes ORDER BY n DESC LIMIT 7",
    "SELECT image, label, n FROM boxes UNION ALL SELECT image, weather, 1 FROM scenes "
    "ORDER BY n LIMIT 5 OFFSET 2",
    "SELECT image, label, n, row_number() OVER (PARTITION BY image ORDER BY n) AS r FROM boxes",
    "SELECT image, label FROM boxes QUALIFY row_number() OVER (PARTITION BY image ORDER BY n) = 1",
    "SELECT b.image, b.label, weather FROM boxes b JOIN scenes s USING (image) "
    "QUALIFY row_number() OVER (PARTITION BY b.image ORDER BY b.n) = 1",
    "SELECT image, label, n, score, lag(label) OVER w AS a, lead(label) OVER w AS b, ntile(3) OVER w AS c, "
    "first_value(label) OVER w AS d, last_value(label) OVER w AS e, nth_value(label, 2) OVER w AS f, "
    "rank() OVER w AS g FROM boxes WINDOW w AS (PARTITION BY image ORDER BY n)",
    "SELECT image, label, n, sum(score) OVER (PARTITION BY image ORDER BY n) AS a, "
    "sum(score) OVER (PARTITION BY image ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS b, "
    "last_value(label) OVER (PARTITION BY image ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS c, "
    "string_agg(label, '') OVER (PARTITION BY image) AS d FROM boxes",
    "SELECT image, count(*) AS c, row_number() OVER (ORDER BY count(*)) AS r FROM boxes GROUP BY image",
    "SELECT image, list(sum(score)) OVER (ORDER BY max(n)) AS s FROM boxes GROUP BY image",
    "WITH boxes AS (SELECT image, label, row_number() OVER (ORDER BY n) AS r FROM boxes) "
    "SELECT image, list(label ORDER BY r) AS l FROM boxes GROUP BY image",
    "SELECT s.image, (SELECT list(b.label) FROM boxes b WHERE b.image = s.image) AS l FROM scenes s",
    "SELECT s.image, t.label FROM scenes s, "
    "LATERAL (SELECT label FROM boxes b WHERE b.image = s.image ORDER BY n LIMIT 1) t",
]


def bound(text: str) -> BoundQuery:
    parsed, faults = parse_query(text, SCHEMA)
    assert parsed is not None, faults
    schema = {name: columns for name, columns in SCHEMA.items() if name in parsed.tables}
    query, faults = bind_query(parsed, schema, {name: f"given_{name}" for name in schema})
    assert query is not None, faults
    return query


Rows = Sequence[tuple[Any, ...]]


def result(sql: str, boxes: Rows, scenes: Rows, *, threads: int, parts: int) -> list[str]:
    """The rows of a query as text, in an order of their own; the tables come in so many parts."""
    con = duckdb.connect(config={"threads": threads, "preserve_insertion_order": False})
    try:
        for name, rows in (("boxes", boxes), ("scenes", scenes)):
            columns = SCHEMA[name]
            listed = ", ".join(f'"{column.name}" {column.type}' for column in columns)
            con.execute(f"CREATE TABLE given_{name} ({listed})").fetchall()
            size = max(1, -(-len(rows) // parts))
            for start in range(0, len(rows), size):
                part = list(zip(*rows[start : start + size], strict=True))
                arrays = [pa.array(values) for values in part]
                table = pa.Table.from_arrays(arrays, names=[column.name for column in columns])
                con.register("incoming", table)
                con.execute(f"INSERT INTO given_{name} SELECT * FROM incoming").fetchall()
                con.unregister("incoming")
        return sorted(str(row) for row in con.execute(sql).fetchall())
    finally:
        con.close()


TEXTS = st.sampled_from(["a", "b", "c", None])
BOX = st.tuples(
    TEXTS,
    TEXTS,
    st.one_of(st.none(), st.sampled_from([1e16, 1.0, -1e16, 0.1, 0.2])),
    st.one_of(st.none(), st.integers(0, 3)),
    st.decimals(-1000, 1000, places=2),
    st.one_of(st.none(), st.booleans()),
)


@pytest.mark.parametrize("text", QUERIES)
@settings(max_examples=5)
@given(boxes=st.lists(BOX, max_size=25), data=st.data())
def test_few_rows_in_any_order(text: str, boxes: list[tuple[Any, ...]], data: st.DataObject) -> None:
    sql = bound(text).sql
    scenes = [("a", "dry"), ("b", "wet"), ("a", "fog"), ("c", "dry")]
    other = data.draw(st.permutations(boxes))
    first = result(sql, boxes, scenes, threads=1, parts=1)
    assert result(sql, other, scenes[::-1], threads=2, parts=3) == first


def many(seed: int) -> list[tuple[Any, ...]]:
    from decimal import Decimal

    chance = random.Random(4)
    rows = [
        (
            f"image {n % 97}",
            f"label {chance.randrange(9)}",
            chance.choice([1e15, 1e-5, 0.1, 7.7]) * chance.random(),
            chance.randrange(30),
            Decimal(chance.randrange(10**6)) / 100,
            chance.random() < 0.5,
        )
        for n in range(8_000)
    ]
    random.Random(seed).shuffle(rows)
    return rows


SCENES = [(f"image {n}", f"weather {n % 3}") for n in range(97)]


@pytest.mark.parametrize("text", QUERIES[:-1])
def test_thousands_of_rows_by_several_threads(text: str) -> None:
    sql = bound(text).sql
    first = result(sql, many(1), SCENES, threads=2, parts=1)
    assert result(sql, many(2), SCENES, threads=2, parts=3) == first
    assert result(sql, many(3), SCENES[::-1], threads=3, parts=2) == first


def test_every_aggregate_that_passes_is_the_same_in_any_order() -> None:
    known = {
        name
        for (name,) in duckdb.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
        ).fetchall()
    }
    names = [name for name in AGGREGATES if name in known]
    assert len(names) > 60
    calls = [f"{name}({ARGUMENTS.get(name, 'score')})::VARCHAR" for name in names]
    rows = many(1), many(2)
    for start in range(0, len(calls), 24):
        some = calls[start : start + 24]
        listed = ", ".join(f"{call} AS c{number}" for number, call in enumerate(some))
        sql = bound(f"SELECT image, {listed} FROM boxes GROUP BY image").sql
        first = result(sql, rows[0], SCENES, threads=2, parts=1)
        assert result(sql, rows[1], SCENES, threads=2, parts=3) == first, some


def test_every_aggregate_that_passes_is_the_same_over_windows() -> None:
    chosen = ["list", "any_value", "string_agg", "mode", "arg_max", "sum", "avg", "stddev", "corr", "product"]
    calls = [f"{name}({ARGUMENTS.get(name, 'score')})".removesuffix(")") + ")" for name in chosen]
    listed = ", ".join(f"{call} OVER (PARTITION BY image) AS c{n}" for n, call in enumerate(calls))
    sql = bound(f"SELECT DISTINCT image, {listed} FROM boxes WHERE n < 9").sql
    rows = many(1)[:6_000], sorted(many(1)[:6_000], key=str)
    first = result(sql, rows[0], SCENES, threads=2, parts=1)
    assert result(sql, rows[1], SCENES, threads=2, parts=3) == first


def test_without_the_orders_these_rows_do_differ() -> None:
    """The comparison above could not fail otherwise."""
    sql = "SELECT image, list(label)::VARCHAR, sum(score) FROM given_boxes GROUP BY image"
    assert result(sql, many(1), SCENES, threads=1, parts=1) != result(
        sql, many(2), SCENES, threads=1, parts=1
    )
