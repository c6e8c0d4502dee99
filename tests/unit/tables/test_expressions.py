"""SQL expressions: what is accepted, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from metaferry.errors import JobError
from metaferry.tables.expressions import _STABLE, parse_expression
from unit.tables.table_loading import Result, left_in, load, sealed

TABLE = (
    "file_name,scene,temp_f,n,Label Name,night,day\n"
    "a.png,city,50,1,x,true,2026-01-02\n"
    "b.png,,n/a,2,y,false,2026-01-03\n"
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text(TABLE)
    return tmp_path / "t.csv"


def value(table: Path, expression: str) -> Result:
    return load(table, metadata={"x": expression})


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("scene", ["city", None]),
        ("SCENE", ["city", None]),
        ('"Label Name"', ["x", "y"]),
        ("n * 2 + 1", [3, 5]),
        ("coalesce(scene, 'none')", ["city", "none"]),
        ("upper(scene) || '!'", ["CITY!", None]),
        ("try_cast(temp_f AS DOUBLE)", [50.0, None]),
        ("(try_cast(temp_f AS DOUBLE) - 32) * 5 / 9", [10.0, None]),
        ("CASE WHEN n > 1 THEN 'many' ELSE 'one' END", ["one", "many"]),
        ("CASE n WHEN 1 THEN 'one' END", ["one", None]),
        ("n IN (2, 3)", [False, True]),
        ("n BETWEEN 2 AND 3", [False, True]),
        ("NOT night", [False, True]),
        ("scene IS NULL", [False, True]),
        ("scene LIKE 'c%'", [True, None]),
        ("nullif(n, 1)", [None, 2]),
        ("split_part(file_name, '.', 1)", ["a", "b"]),
        ("regexp_extract(file_name, '([a-z]+)[.]', 1)", ["a", "b"]),
        ("list_transform([n], lambda y: y + n)", [[2], [4]]),
        ("[y + 1 FOR y IN [n, 5] IF y > 1]", [[6], [3, 6]]),
        ("strftime(day::DATE, '%d')", ["02", "03"]),
        ("date_trunc('month', day::DATE)::DATE::VARCHAR", ["2026-01-01"] * 2),
        ("md5(scene)", ["4ed5d2eaed1a1fadcc41ad1d58ed603e", None]),
        ("json_extract_string('{\"k\": \"v\"}', '$.k')", ["v", "v"]),
        ("'it''s -- no /* comment */ ; here'", ["it's -- no /* comment */ ; here"] * 2),
        ("1\n + n", [2, 3]),
        ("NULL", [None, None]),
        ("try(CAST(temp_f AS INTEGER))", [50, None]),
        ("round(n / 3.0, 2)", [0.33, 0.67]),
    ],
)
def test_expressions_of_one_row_are_accepted(table: Path, expression: str, values: list[Any]) -> None:
    result = value(table, expression)
    assert result.values("x") == values


@pytest.mark.parametrize(
    "expression",
    [
        "1); drop table rejects; --",
        "1); drop table rejects; select (1",
        "1; select 2",
        "scene -- all of it",
        "scene /* all of it */",
        "scene -- )",
        "/*",
        "$1",
        "?",
        "$name",
        "(SELECT 1)",
        "EXISTS (SELECT 1)",
        "n IN (SELECT 1)",
        "FROM rejects",
        "SELECT 1",
        "(TABLE rejects)",
        "scene) FROM rejects WHERE (true",
        "scene) FROM (VALUES (1)) t(scene",
        "scene), (n",
        "scene) AS y, (n",
        "n) UNION SELECT (2",
        "n) ORDER BY (1",
        "n) LIMIT (1",
        "n) GROUP BY (n",
        "WITH x AS (SELECT 1) SELECT 1",
        "*",
        "COLUMNS(*)",
        "COLUMNS('n')",
        "#1",
        "DEFAULT",
        "sum(n)",
        "count(*)",
        "first(scene)",
        "max(n) FILTER (WHERE night)",
        "row_number() OVER ()",
        "sum(n) OVER ()",
        "lag(n) OVER (ORDER BY n)",
        "unnest([n])",
        "generate_subscripts([n], 1)",
        "grouping(n)",
        "random()",
        "uuid()",
        "gen_random_uuid()",
        "now()",
        "today()",
        "current_timestamp",
        "current_localtimestamp()",
        "get_current_time()",
        "age(day::TIMESTAMP)",
        "ago(INTERVAL 1 DAY)",
        "current_setting('memory_limit')",
        "getenv('HOME')",
        "getvariable('x')",
        "version()",
        "nextval('s')",
        "current_user",
        "current_database()",
        "pg_get_viewdef('v')",
        "has_table_privilege('rejects', 'select')",
        "in_search_path('a', 'b')",
        "read_text('/etc/hostname')",
        "read_csv('/etc/hostname')",
        "glob('/*')",
        "query('SELECT 1')",
        "json_serialize_plan('SELECT 1')",
        "error('x')",
        "sleep_ms(1)",
        "write_log('x')",
        "hash(n)",
        "scene.upper()",
        "main.upper(scene)",
        "  ",
        "scene\0",
        "n +",
        "(n",
        "n)",
        "'open",
        "n AS y",
        "x -> x + 1",
    ],
)
def test_everything_else_is_refused_before_anything_runs(table: Path, expression: str) -> None:
    con = sealed()
    with pytest.raises(JobError) as caught:
        load(table, con=con, metadata={"ok": "n", "x": expression})
    assert caught.value.place == "sources[0].metadata.x"
    assert caught.value.exit_code == 2
    assert "Traceback" not in caught.value.message
    assert len(caught.value.message) < 400
    # Nothing ran, and nothing is left.
    assert left_in(con) == {"rejects", "findings"}


@pytest.mark.parametrize(
    ("expression", "message", "column", "advice"),
    [
        ("upper(scen)", "has no column scen", 6, "did you mean scene?"),
        ("n + label_name", "has no column label_name", 4, 'did you mean "Label Name"'),
        ("zzzz", "has no column zzzz", 0, "the columns are file_name, scene, temp_f, n"),
        ("uper(scene)", "there is no function uper", 0, "did you mean upper"),
        ("n + sum(n)", "sum is an aggregate", 4, "one row"),
        ("n + + ", "", 6, ""),
        ("n + ]", "syntax error", 4, ""),
        ("upper(n)", "upper cannot be applied to (BIGINT)", 0, ""),
        ("scene::nothing", "Type with name nothing does not exist", 7, ""),
        ("'é' || uper(scene)", "there is no function uper", 7, ""),
        ("night + scene", "+ cannot be applied to (BOOLEAN, VARCHAR)", None, ""),
    ],
)
def test_faults_name_the_position_and_what_to_do(
    table: Path, expression: str, message: str, column: int | None, advice: str
) -> None:
    with pytest.raises(JobError) as caught:
        value(table, expression)
    first, shown, *caret = caught.value.message.split("\n")
    assert first.startswith("sources[0].metadata.x: ")
    assert message in first
    assert shown.strip() == expression.strip()
    assert advice in caught.value.advice
    if column is not None:
        assert caret == [" " * (4 + column) + "^"]


def test_the_caret_stands_in_the_line_of_the_fault(table: Path) -> None:
    with pytest.raises(JobError) as caught:
        value(table, "coalesce(\n  scene,\n  scen\n)")
    assert caught.value.message.endswith("\n      scen\n      ^")


def test_a_long_line_is_cut_around_the_fault(table: Path) -> None:
    with pytest.raises(JobError) as caught:
        value(table, " + ".join(["n"] * 100) + " + scen + n")
    _, shown, caret = caught.value.message.split("\n")
    assert len(shown) < 110
    assert shown[caret.index("^") :].startswith("scen")


def test_text_that_is_nearly_a_number_says_where_it_is_not(table: Path) -> None:
    with pytest.raises(JobError) as caught:
        value(table, "(temp_f - 32) * 5 / 9")
    assert (
        '- cannot be applied to (VARCHAR, INTEGER): the column temp_f is text, since line 3 holds "n/a"'
        in (caught.value.message)
    )
    assert caught.value.advice.startswith("use try_cast(temp_f AS DOUBLE)")


def test_a_value_that_fails_names_its_row(tmp_path: Path) -> None:
    rows = [f"{n}.png,{n if n != 77_777 else 'x' * 3}" for n in range(100_000)]
    (tmp_path / "t.csv").write_text("file_name,v\n" + "\n".join(rows))
    con = sealed()
    with pytest.raises(JobError) as caught:
        load(tmp_path / "t.csv", con=con, metadata={"n": "length(v)", "x": "CAST(v AS INTEGER) + 1"})
    message = caught.value.message
    assert message.startswith("sources[0].metadata.x: it fails for row 77779 of ")
    assert "Could not convert string 'xxx' to INT32" in message
    assert "CAST(v AS INTEGER) + 1" in message
    assert left_in(con) == {"rejects", "findings"}
    advised, _, rest = caught.value.advice.partition(" is null")
    assert (advised, rest) == ("try(CAST(v AS INTEGER) + 1)", " where a value does not fit")
    assert load(tmp_path / "t.csv", con=sealed(), metadata={"x": advised}).loaded.read == 100_000


def test_a_moment_is_no_number_of_seconds_but_one_can_be_made_of_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file_name,seen\nv.mp4,2026-01-02 03:04:05\nv.mp4,2026-01-02 03:04:06\n")
    with pytest.raises(JobError, match="a time in seconds cannot be TIMESTAMP") as caught:
        load(tmp_path / "t.csv", frame={"seconds": "seen::TIMESTAMP"})
    advised = caught.value.advice.removeprefix("write ")
    assert advised == "epoch(seen::TIMESTAMP)"
    assert load(tmp_path / "t.csv", frame={"seconds": advised}).loaded.read == 2


def test_a_division_by_zero_names_no_setting_that_nobody_can_reach(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file_name,v\na.png,1\nb.png,0\n")
    with pytest.raises(JobError) as caught:
        load(tmp_path / "t.csv", metadata={"x": "1 // v"})
    assert "row 3 of" in caught.value.message
    assert "SET " not in caught.value.message
    assert "try(" in caught.value.advice


def test_the_columns_an_expression_names() -> None:
    text = 'list_transform("A b", lambda y, i: y + i + Z.w) || lower(q)'
    parsed = parse_expression(text, "p", sealed())
    assert parsed.columns == {"a b", "z", "q"}
    assert [reference.steps for reference in parsed.references] == [("A b",), ("Z", "w"), ("q",)]


def test_deep_nesting_is_no_crash(table: Path) -> None:
    with pytest.raises(JobError):
        value(table, "(" * 5000 + "n" + ")" * 5000)
    assert value(table, " + ".join(["n"] * 300)).values("x") == [300, 600]


def test_a_column_may_be_called_like_a_keyword_or_a_function(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file_name,order,now,row,file,e0,k0,current_date\na,1,2,3,4,5,6,7\n")
    result = load(
        tmp_path / "t.csv",
        metadata={"a": '"order"', "b": "now", "c": "row", "d": "file", "e": "e0 + k0", "f": "current_date"},
    )
    assert [result.values(key) for key in "abcdef"] == [[1], [2], [3], [4], [11], [7]]
    assert result.values("row") == [2]


@pytest.mark.parametrize(
    ("name", "stability", "types", "stable"),
    [
        ("+", "CONSISTENT", ["INTEGER", "INTEGER"], True),
        ("+", "CONSISTENT_WITHIN_QUERY", ["TIMESTAMP WITH TIME ZONE", "INTERVAL"], True),
        ("year", "CONSISTENT_WITHIN_QUERY", ["TIMESTAMPTZ_NS"], True),
        ("timezone", "CONSISTENT_WITHIN_QUERY", ["VARCHAR", "TIMESTAMP"], True),
        ("now", "CONSISTENT_WITHIN_QUERY", [], False),
        ("current_setting", "CONSISTENT_WITHIN_QUERY", ["VARCHAR"], False),
        ("random", "VOLATILE", [], False),
    ],
)
def test_functions_that_depend_on_the_zone_alone_are_stable_here(
    name: str, stability: str, types: list[str], stable: bool
) -> None:
    # As engines from 2.0.1 on describe them; those before call all functions of zones consistent.
    described = "SELECT $1 AS function_name, $2 AS stability, $3::VARCHAR[] AS parameter_types"
    with duckdb.connect() as con:
        row = con.execute(f"SELECT {_STABLE} FROM ({described})", [name, stability, types]).fetchone()
    assert row == (stable,)
