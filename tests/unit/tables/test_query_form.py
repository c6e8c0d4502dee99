"""Queries: what they may hold, what is put into them, and the text that is advised where one is refused."""

from __future__ import annotations

import pytest

from metaferry.tables.model import Column
from metaferry.tables.query.prepare import BoundQuery, bind_query, parse_query
from metaferry.tables.query.tree import Fault

SCHEMA = {
    "boxes": [
        Column("image", "VARCHAR"),
        Column("label", "VARCHAR"),
        Column("score", "DOUBLE"),
        Column("n", "INTEGER"),
        Column("price", "DECIMAL(10,2)"),
        Column("parts", "INTEGER[]"),
        Column("group", "VARCHAR"),
        Column("Scan Path", "VARCHAR"),
    ],
    "scenes": [Column("image", "VARCHAR"), Column("weather", "VARCHAR")],
}


def judged(text: str) -> tuple[BoundQuery | None, list[Fault]]:
    parsed, faults = parse_query(text, SCHEMA)
    if parsed is None:
        return None, faults
    schema = {name: columns for name, columns in SCHEMA.items() if name in parsed.tables}
    known = [column.name for columns in schema.values() for column in columns]
    return bind_query(parsed, schema, {name: f"given_{name}" for name in schema}, known)


def sql(text: str) -> str:
    bound, faults = judged(text)
    assert bound is not None, faults
    return bound.sql


def fault(text: str) -> Fault:
    bound, faults = judged(text)
    assert bound is None
    (found,) = faults
    return found


def pointed(text: str) -> str:
    """The text from the place of its one fault."""
    found = fault(text)
    return "" if found.at is None else text.encode()[found.at :].decode()


@pytest.mark.parametrize(
    ("call", "written"),
    [
        ("count(*)", "count_star()"),
        ("min(score)", "min(score)"),
        ("median(score)", "median(score)"),
        ("sum(n)", "sum(n)"),
        ("sum(n * 2 + 1)", "sum(((n * 2) + 1))"),
        ("sum(price)", "sum(price)"),
        ("sum(score)", "sum(score ORDER BY score)"),
        ("sum(n * score)", "sum((n * score) ORDER BY (n * score))"),
        ("list(DISTINCT label)", 'list(DISTINCT "label" ORDER BY "label")'),
        ("list(label ORDER BY n DESC)", 'list("label" ORDER BY n DESC, "label")'),
        ("string_agg(label, ',')", 'string_agg("label", \',\' ORDER BY "label")'),
        ("arg_max(label, score)", 'arg_max("label", score ORDER BY "label", score)'),
        ("list(label) FILTER (n > 1)", 'list("label" ORDER BY "label") FILTER (WHERE (n > 1))'),
        (
            "list(sum(score)) OVER ()",
            "list(sum(score ORDER BY score) ORDER BY sum(score ORDER BY score)) OVER ()",
        ),
    ],
)
def test_an_aggregate_gets_an_order_where_its_value_depends_on_one(call: str, written: str) -> None:
    assert sql(f"SELECT {call} AS x FROM boxes") == f"SELECT {written} AS x FROM given_boxes AS boxes"


@pytest.mark.parametrize(
    ("call", "written"),
    [
        ("rank() OVER (ORDER BY n)", "rank() OVER (ORDER BY n)"),
        ("sum(n) OVER (ORDER BY n)", "sum(n) OVER (ORDER BY n)"),
        ("row_number() OVER (ORDER BY n)", 'row_number() OVER (ORDER BY n, "row"(UNPACK(COLUMNS(*))))'),
        (
            "sum(n) OVER (ORDER BY n ROWS 1 PRECEDING)",
            'sum(n) OVER (ORDER BY n, "row"(UNPACK(COLUMNS(*))) ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)',
        ),
        (
            "last_value(label) OVER (ORDER BY n)",
            'last_value("label" ORDER BY n, "row"(UNPACK(COLUMNS(*)))) OVER (ORDER BY n)',
        ),
        ("max(n) OVER (PARTITION BY label)", 'max(n) OVER (PARTITION BY "label")'),
    ],
)
def test_a_window_function_gets_all_columns_where_ties_matter(call: str, written: str) -> None:
    assert sql(f"SELECT {call} AS x FROM boxes") == f"SELECT {written} AS x FROM given_boxes AS boxes"


def test_over_groups_the_keys_are_what_the_groups_are_made_by() -> None:
    text = "SELECT image || 'x' AS f, row_number() OVER (ORDER BY count(*)) AS r FROM boxes GROUP BY f"
    assert "ORDER BY count_star(), (image || 'x'))" in sql(text)


def test_in_qualify_the_columns_are_named_of_every_relation() -> None:
    text = (
        "SELECT weather FROM boxes b JOIN scenes USING (image) "
        "QUALIFY row_number() OVER (PARTITION BY weather ORDER BY n) = 1"
    )
    assert 'b."group", b."Scan Path", scenes.image, scenes.weather' in sql(text)


def test_a_table_may_stand_behind_a_common_table_of_its_name() -> None:
    text = "WITH boxes AS (SELECT n FROM boxes) SELECT max(n) AS m FROM boxes"
    assert sql(text) == "WITH boxes AS (SELECT n FROM given_boxes AS boxes) SELECT max(n) AS m FROM boxes"


@pytest.mark.parametrize(
    ("text", "at", "advice"),
    [
        ("SELECT n FROM boxes LIMIT 3", "3", "ORDER BY ALL before LIMIT"),
        ("SELECT DISTINCT ON (label) n FROM boxes", "label", "ORDER BY ALL at the end"),
        (
            "SELECT row_number() OVER (PARTITION BY label) AS r FROM boxes",
            "row_number",
            'row_number() OVER (PARTITION BY "label" ORDER BY boxes.image',
        ),
        ("SELECT first_value(n) OVER () AS r FROM boxes", "first_value", "first_value(n) OVER (ORDER BY"),
        ("SELECT n FROM boxes USING SAMPLE 10%", "boxes", "WHERE md5_number_lower(file_name) % 100 < 10"),
        ("SELECT n FROM boxes TABLESAMPLE 5 ROWS", "boxes", "ORDER BY md5(file_name) LIMIT 5"),
        ("SELECT * FROM boxes PIVOT (count(*) FOR label IN ('a'))", "", "count(*) FILTER (WHERE label ="),
        ("SELECT entropy(n) AS e FROM boxes", "entropy", "count, sum or list"),
        ("SELECT reservoir_quantile(n, 0.5) AS e FROM boxes", "reservoir", "count, sum or list"),
        ("SELECT * FROM boxes ASOF JOIN scenes ON boxes.image >= scenes.image", "", "QUALIFY row_number()"),
        ("SELECT * FROM boxes POSITIONAL JOIN scenes", "", "JOIN … USING"),
        ("SELECT random() AS r FROM boxes", "random", "the same values again"),
        ("SELECT now() AS r FROM boxes", "now", "the same values again"),
        ("SELECT lower(label COLLATE nocase) AS r FROM boxes", "", "lower(…)"),
        (
            "SELECT list(n) AS l FROM (SELECT n FROM boxes ORDER BY label)",
            "label",
            "list(x ORDER BY y)",
        ),
        ("SELECT DISTINCT label FROM boxes ORDER BY n LIMIT 1", "n", "ORDER BY ALL"),
    ],
)
def test_what_differs_from_run_to_run_is_refused_with_the_text_to_write(
    text: str, at: str, advice: str
) -> None:
    assert advice in fault(text).advice
    assert pointed(text).startswith(at)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM pragma_version()",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('boxes')",
        "SELECT getenv('HOME') AS h FROM boxes",
        "SELECT rowid FROM boxes",
        "SELECT current_date AS d FROM boxes",
        "SELECT current_timestamp AS d FROM boxes",
        "SELECT user AS d FROM boxes",
        "SELECT image FROM boxes WHERE n > 1 AND session_user = 'x'",
        "SELECT count(*) OVER (ORDER BY current_time) AS c FROM boxes",
        "SELECT #1 FROM boxes",
        "SELECT ? AS x FROM boxes",
        "SELECT n FROM boxes; DROP TABLE boxes",
        "DROP TABLE boxes",
        "CREATE TABLE x AS SELECT 1",
        "COPY boxes TO '/tmp/x'",
        "SHOW TABLES",
        "DESCRIBE boxes",
        "SELECT (SELECT max(n) FROM nobody) AS x FROM boxes",
        "WITH c AS (SELECT * FROM nobody) SELECT * FROM c",
        "SELECT * FROM plan.main.boxes",
        "",
        "  -- nothing\n",
    ],
)
def test_a_query_reaches_nothing_but_the_tables_of_the_job(text: str) -> None:
    bound, faults = judged(text)
    assert bound is None
    assert faults


@pytest.mark.parametrize(
    "text",
    [
        "SELECT image FROM boxes -- all of them",
        "SELECT basename(image) AS file_name FROM boxes",
        "/* first */ SELECT image FROM boxes; -- the end",
        "SELECT u.x FROM boxes, unnest(parts) AS u(x)",
        "SELECT image, unnest(parts) AS x FROM boxes",
        "SELECT r.range AS n FROM range(3) r",
        "SELECT a FROM (VALUES (1, 2), (3, 4)) v(a, b)",
        "FROM boxes SELECT image",
        "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t WHERE x < 3) SELECT x FROM t",
        "SELECT image FROM boxes UNION SELECT image FROM scenes",
        "SELECT image, EXISTS (SELECT 1 FROM scenes s WHERE s.image = boxes.image) AS e FROM boxes",
        'SELECT "group", "Scan Path" AS path FROM boxes',
    ],
)
def test_what_a_query_may_hold(text: str) -> None:
    assert sql(text)


def test_all_faults_are_named_at_once_with_their_places() -> None:
    text = "SELECT random() AS a, nofunction(1) AS b FROM boxes, nobody, read_csv('x')"
    _, faults = judged(text)
    assert [text[found.at :].split("(")[0].split(",")[0] for found in faults if found.at is not None] == [
        "random",
        "nofunction",
        "nobody",
        "read_csv",
    ]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("SELECT group FROM boxes", '"group"'),
        ("SELECT n FROM boxes WHERE group = 'x'", '"group"'),
        ("SELECT on FROM boxes", '"on"'),
        ("SELECT min(Scan Path) AS p FROM boxes", '"Scan Path"'),
        ("SELECT Scan Path FROM boxes", '"Scan Path"'),
    ],
)
def test_a_name_that_needs_quotes_is_advised_with_them(text: str, advice: str) -> None:
    assert advice in fault(text).advice


def test_a_position_in_the_sql_leads_back_to_the_text() -> None:
    text = "SELECT  list( label ) AS l, n::VARCHAR  ::  INTEGER AS i FROM   boxes GROUP BY ALL"
    bound, faults = judged(text)
    assert bound is not None, faults
    at = bound.origin(bound.sql.index("CAST(n AS VARCHAR)"))
    assert at is not None
    assert text[at:].startswith(("n::VARCHAR", "::VARCHAR"))


def test_columns_that_are_named_are_known_before_a_table_is_read() -> None:
    parsed, _ = parse_query("SELECT b.Label FROM boxes b JOIN scenes USING (image) WHERE n > 1", SCHEMA)
    assert parsed is not None
    assert parsed.columns is not None
    assert parsed.columns >= {"label", "image", "n"}
    assert "score" not in parsed.columns
    assert parsed.tables == {"boxes", "scenes"}
    everything, _ = parse_query("SELECT * FROM boxes", SCHEMA)
    assert everything is not None
    assert everything.columns is None


def test_a_column_that_is_called_like_a_value_of_the_engine_is_a_column() -> None:
    schema = {"marks": [Column("user", "VARCHAR"), Column("n", "INTEGER")]}

    def faults_of(text: str) -> list[Fault]:
        parsed, faults = parse_query(text, schema)
        return bind_query(parsed, schema, {"marks": "given"})[1] if parsed is not None else faults

    assert faults_of("SELECT user, count(*) AS n FROM marks GROUP BY user") == []
    assert faults_of("WITH c AS (SELECT m.user FROM marks m) SELECT c.user FROM c") == []
    (found,) = faults_of("SELECT n FROM (SELECT n FROM marks) t WHERE user = 'x'")
    assert 't."user"' in found.advice


def test_ties_among_several_sets_of_groups_are_not_guessed() -> None:
    text = "SELECT row_number() OVER (ORDER BY count(*)) AS r FROM boxes GROUP BY ROLLUP (image, label)"
    assert "in a WITH first" in fault(text).advice
