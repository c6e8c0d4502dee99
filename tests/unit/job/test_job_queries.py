"""Named tables and queries in a job: what they take, their digest, and where a query stands in its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metaferry import Job
from metaferry.errors import JobError
from metaferry.job.places import TextPlace
from metaferry.job.serialize import keep_job, restore_job
from metaferry.masking import mask

QUERY = "SELECT image AS file_name, count(*) AS n FROM boxes GROUP BY image"
JOB: dict[str, Any] = {"input": "/in", "tables": {"boxes": "/boxes.csv"}, "sources": [{"query": QUERY}]}


def fault(mapping: dict[str, Any]) -> str:
    with pytest.raises(JobError) as raised:
        Job.from_mapping(mapping)
    return str(raised.value)


def test_a_table_is_a_url_or_a_mapping_with_options_of_its_format() -> None:
    job = Job.from_mapping(
        {
            "input": "/in",
            "tables": {
                "short": "s3://b/t.csv",
                "long": {"table": "t.csv", "nulls": ["NA"], "options": {"anon": True}, "max_rejects": "1%"},
                "located": {"url": "s3://b/u.csv", "options": {"key": "k"}, "delimiter": ";"},
            },
            "sources": [{"query": QUERY}],
        },
        base="/jobs",
    )
    assert job.tables["short"].location.url == "s3://b/t.csv"
    assert job.tables["long"].location.url == "/jobs/t.csv"
    assert job.tables["long"].location.options == {"anon": True}
    assert job.tables["long"].max_rejects == "1%"
    assert job.tables["located"].location.options == {"key": "k"}
    assert job.tables["located"].delimiter == ";"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": [{"file_name": "a"}]}, "a source has `table`, `query`"),
        ({"sources": [{"query": QUERY, "table": "/t.csv"}]}, "exclude each other"),
        ({"sources": [{"query": QUERY, "nulls": ["NA"]}]}, "`nulls` says how a table is read"),
        ({"sources": [{"query": QUERY, "metadata": {"a": "b"}}]}, "name them there with AS"),
        ({"sources": [{"query": QUERY}, {"query": QUERY, "where": "n > 1"}]}, "tell them apart with `name`"),
        ({"tables": {"a": "/t.csv", "A": "/u.csv"}}, "differ in letter case only"),
        ({"tables": {"a": {"nulls": ["NA"]}}}, "a table has `table`"),
        ({"tables": {"a": {"table": "/t.csv", "delimeter": ";"}}}, 'did you mean "delimiter"?'),
        ({"tables": {"a": {"table": "/t.csv", "file_name": "x"}}}, "unknown key"),
    ],
)
def test_what_does_not_go_together(change: dict[str, Any], message: str) -> None:
    assert message in fault({**JOB, **change})


def test_flags_reach_into_a_table_in_its_short_form() -> None:
    job = Job.from_mapping(JOB, overrides=["tables.boxes.max_rejects=3", "tables.boxes.nulls=[NA]"])
    assert job.tables["boxes"].max_rejects == 3
    assert job.tables["boxes"].nulls == ("NA",)
    assert job.tables["boxes"].location.url == "/boxes.csv"


def test_the_digest_knows_tables_and_queries_but_no_limits_and_no_secrets() -> None:
    job = Job.from_mapping(JOB)
    same = [
        {"tables": {"boxes": {"table": "/boxes.csv", "max_rejects": 5}}},
        {"tables": {"boxes": {"table": "/boxes.csv", "options": {"key": "secret"}}}},
        {"sources": [{"query": QUERY, "name": "objects"}]},
    ]
    other = [
        {"tables": {"boxes": "/others.csv"}},
        {"tables": {"boxes": {"table": "/boxes.csv", "nulls": ["NA"]}}},
        {"tables": {"boxes": "/boxes.csv", "more": "/more.csv"}},
        {"sources": [{"query": QUERY + " HAVING n > 1"}]},
    ]
    assert {Job.from_mapping({**JOB, **change}).digest() for change in same} == {job.digest()}
    assert len({Job.from_mapping({**JOB, **change}).digest() for change in other} | {job.digest()}) == 5


def test_secrets_of_a_table_are_masked_and_hold_a_kept_job_back() -> None:
    options = {"key": "a-canary-of-a-key", "secret": "a-canary-of-a-secret"}
    job = Job.from_mapping({**JOB, "tables": {"boxes": {"table": "s3://b/t.csv", "options": options}}})
    assert "canary" not in repr(job)
    assert "canary" not in mask("the key a-canary-of-a-key")
    kept, why = keep_job(job)
    assert kept is None
    assert "tables.boxes" in why
    assert "canary" not in why


def test_a_kept_job_comes_back_with_its_queries(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f'input: in\ntables: {{boxes: boxes.csv}}\nsources:\n  - query: "{QUERY}"\n')
    job = Job.load(file)
    kept, why = keep_job(job)
    assert kept is not None, why
    assert restore_job(kept) == job
    assert restore_job(kept).digest() == job.digest()


BLOCK = """\
input: in
tables: {t: t.csv}
sources:
  - query: |
      SELECT a AS file_name,

        b AS n -- é🚗 and more
      FROM t
"""
FOLDED = BLOCK.replace("|", ">-")
QUOTED = 'input: in\ntables: {t: t.csv}\nsources:\n  - query: "SELECT b\n      FROM t"\n'
SINGLE = "input: in\ntables: {t: t.csv}\nsources:\n  - {query: 'SELECT ''x'' AS y, b FROM t'}\n"
PLAIN = "input: in\ntables: {t: t.csv}\nsources:\n  - query: SELECT a,\n      b FROM t\n"


@pytest.mark.parametrize(
    ("text", "word", "place"),
    [
        (BLOCK, "SELECT", "5:7"),
        (BLOCK, "file_name", "5:19"),
        (BLOCK, "b AS", "7:9"),
        (BLOCK, "and", "7:22"),
        (BLOCK, "FROM", "8:7"),
        (BLOCK.replace("\n      ", "\n          ").replace("|\n    ", "|2\n    "), "FROM", "8:11"),
        (FOLDED, "SELECT", "5:7"),
        (FOLDED, "FROM", "8:7"),
        (QUOTED, "SELECT", "4:13"),
        (QUOTED, "FROM", "5:7"),
        (SINGLE, "b FROM", "4:33"),
        (PLAIN, "b FROM", "5:7"),
    ],
)
def test_a_character_of_a_query_has_line_and_column(tmp_path: Path, text: str, word: str, place: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text, encoding="utf-8")
    job = Job.load(file)
    found = job.places.of(0, "query")
    assert isinstance(found, TextPlace)
    query = job.sources[0].query or ""
    assert found.of(query.index(word)) == f"{file}:{place}"


def test_where_variables_changed_the_text_only_its_line_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFERRY_COLUMN", "a_long_name")
    file = tmp_path / "job.yaml"
    file.write_text(
        "input: in\ntables: {t: t.csv}\nsources: [{query: 'SELECT ${METAFERRY_COLUMN} FROM t'}]\n"
    )
    place = Job.load(file).places.of(0, "query")
    assert place is not None
    assert place.of(20) == f"{file}:3"


def test_a_query_of_a_flag_has_no_place_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("input: in\ntables: {t: t.csv}\nsources: [{query: 'SELECT a FROM t'}]\n")
    assert Job.load(file, ["sources[0].query=SELECT b FROM t"]).places.of(0, "query") is None
