"""The job as a value: short forms, limits, locations, options, digest, and what it never shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metaferry.errors import JobError
from metaferry.job.model import Job
from metaferry.job.parts import Infer, Location, SchemaEntry

TABLE = {"table": "/t/labels.csv"}


def job(**changes: Any) -> Job:
    return Job.from_mapping({"input": "/data", "sources": [TABLE], **changes})


def fault(**changes: Any) -> str:
    with pytest.raises(JobError) as caught:
        job(**changes)
    return caught.value.message


def test_a_location_is_a_url_or_a_mapping() -> None:
    assert job(input="s3://b/x").input == Location(url="s3://b/x")
    assert job(input={"url": "s3://b/x", "options": {"anon": True}}).input.options == {"anon": True}
    assert Job(input="s3://b", sources=({"table": "t.csv"},)).sources[0].table.url == "t.csv"  # type: ignore[arg-type]


def test_lightly_and_state_have_their_defaults() -> None:
    plain = job(input={"url": "s3://b/x/", "options": {"anon": True}})
    assert plain.lightly_location is plain.input
    assert plain.state_location == Location(url="s3://b/x/.metaferry/", options={"anon": True})
    apart = job(lightly="gs://other")
    assert apart.state_location.url == "gs://other/.metaferry/"
    assert job(input="memory://").state_location.url == "memory://.metaferry/"
    assert job(state="/state").state_location.url == "/state"


def test_frame_is_an_expression_or_a_mapping() -> None:
    short = job(sources=[{**TABLE, "frame": "n"}]).sources[0].frame
    long = job(sources=[{**TABLE, "frame": {"value": "n", "base": 1}}]).sources[0].frame
    assert short is not None
    assert (short.value, short.base) == ("n", 0)
    assert long is not None
    assert long.base == 1
    assert "sources[0].frame.base: should be 0 or 1, is 2" in fault(
        sources=[{**TABLE, "frame": {"value": "n", "base": 2}}]
    )


def test_constants_stand_for_themselves_in_a_mapping() -> None:
    metadata = (
        job(sources=[{**TABLE, "metadata": {"a": 1, "b": True, "c": 0.5, "d": "no"}}]).sources[0].metadata
    )
    assert metadata == {"a": "1", "b": "true", "c": "0.5", "d": "no"}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a..b": "x"}, "is not a path like"),
        ({"a[0].b": "x"}, "a position in a list cannot be written"),
        ({"lightly.x": "x"}, "the consumer's own"),
        ({"a": "x", "a.b": "y"}, "'a' cannot hold a value and 'a.b' too"),
        ({"a": None}, "sources[0].metadata.a: should be text, is empty"),
    ],
)
def test_key_paths_that_mean_nothing_are_faults(metadata: dict[str, Any], message: str) -> None:
    assert message in fault(sources=[{**TABLE, "metadata": metadata}])


def test_the_forms_of_schema() -> None:
    assert job().schema_ == job(schema="infer").schema_ == job(schema={"infer": None}).schema_ == Infer()
    assert job(schema={"infer": {"categorical_integers": 12}}).schema_ == Infer(categorical_integers=12)
    entry = {"name": "a", "path": "a", "defaultValue": 0, "valueDataType": "NUMERIC_INT"}
    entries = job(schema=[entry]).schema_
    assert isinstance(entries, tuple)
    assert isinstance(entries[0], SchemaEntry)
    assert job(schema="s3://b/schema.json").schema_ == "s3://b/schema.json"
    forms = "schema: should be `infer`, a list of entries, the path of a schema.json, or {entries, exact}"
    assert fault(schema=5) == forms
    assert fault(schema={"infer": None, "exact": True}) == forms
    assert job(schema=[entry]).given_schema == job(schema={"entries": [entry]}).given_schema
    exact = job(schema={"entries": "s3://b/schema.json", "exact": True}).given_schema
    assert exact is not None
    assert (exact.entries, exact.exact) == ("s3://b/schema.json", True)
    assert job(schema={"entries": [entry], "exact": True}).digest() != job(schema=[entry]).digest()
    assert fault(schema={"exact": True}) == "schema.entries: is missing"
    assert fault(schema={"entries": [entry], "exact": "yes"}) == (
        "schema.exact: should be true or false, is 'yes'"
    )
    assert fault(schema={"entries": 5}) == (
        "schema.entries: should be a list of entries, or the path of a schema.json"
    )
    assert 'did you mean "exact"?' in fault(schema={"entries": [entry], "exacte": True})
    assert "did you mean NUMERIC_INT?" in fault(
        schema={"entries": [{**entry, "valueDataType": "NUMERICAL_INT"}]}
    )
    assert 'did you mean "categorical_integers"' in fault(schema={"infer": {"categorical_integer": 5}})
    assert "did you mean NUMERIC_INT?" in fault(schema=[{**entry, "valueDataType": "NUMERICAL_INT"}])


@pytest.mark.parametrize(
    ("given_", "kept"), [(0, 0), (7, 7), ("7", 7), ("5%", "5%"), ("0.5%", "0.5%"), ("100%", "100%")]
)
def test_limits_are_numbers_or_shares(given_: int | str, kept: int | str) -> None:
    assert job(policy={"max_rejects": given_}).policy.max_rejects == kept


@pytest.mark.parametrize(
    "wrong", [-1, "-1", "5 percent", "101%", "-1%", "nan%", "inf%", "%", "", True, 1.5, None, [1]]
)
def test_what_is_no_limit_is_a_fault(wrong: Any) -> None:
    assert "policy.max_delete: should be a number" in fault(policy={"max_delete": wrong})


@pytest.mark.parametrize("key", ["concurrency", "retry_for", "keep_runs"])
def test_a_boolean_is_no_number(key: str) -> None:
    assert f"{key}: should be a number" in fault(**{key: True})


@pytest.mark.parametrize("pattern", ["/a/*.png", "./a", "../a", ""])
def test_globs_that_match_nothing_are_faults(pattern: str) -> None:
    assert "can match nothing" in fault(media={"include": [pattern]})


def test_options_merge_from_scheme_and_alias_to_location() -> None:
    made = job(
        input={"url": "s3://b", "options": {"anon": True}},
        storage={"s3a": {"key": "alias", "anon": False}, "s3": {"key": "own"}, "gs": {"token": "anon"}},
    )
    assert made.storage_options(made.input) == {"key": "own", "anon": True}
    assert made.storage_options(Location(url="S3A://b")) == {"key": "alias", "anon": False}
    assert made.storage_options(Location(url="gcs://b")) == {"token": "anon"}
    assert made.storage_options(Location(url="/local")) == {}
    assert "is no URL scheme" in fault(storage={"s3://": {}})
    assert "no file system for azure://: write az or abfs or abfss" in fault(storage={"azure": {}})
    assert "write s3" in fault(storage={"s33": {}})
    assert "another that fsspec knows" in fault(storage={"qqqqqqqq": {}})


SECRET = "hunter2-hunter2"


def test_credentials_are_in_no_repr_and_no_message() -> None:
    made = job(
        input={"url": f"sftp://me:{SECRET}@host/x", "options": {"password": SECRET}},
        storage={"s3": {"secret": SECRET}},
        sources=[{"table": f"https://user:{SECRET}@host/a.csv?token={SECRET}"}],
    )
    assert SECRET in made.input.url
    for text in (
        repr(made),
        str(made),
        repr(made.input),
        made.sources[0].label,
        made.digest(),
        made.input.shown,
    ):
        assert SECRET not in text
    for wrong in (
        {"storage": {"s3": SECRET}},
        {"storage": {"s3": {"secret": SECRET}}, "input": {"url": f"s3://{SECRET}@b", "options": SECRET}},
        {"input": {"url": "s3://b", "secret": SECRET}},
        {"concurrency": f"https://u:{SECRET}@host"},
    ):
        assert SECRET not in fault(**wrong)


def test_the_digest_is_of_what_decides_the_documents() -> None:
    base = job()
    same: list[dict[str, Any]] = [
        {"concurrency": 5},
        {"retry_for": 1},
        {"memory_limit": "2GB"},
        {"state": "/elsewhere"},
        {"policy": {"max_rejects": "5%", "max_delete": 0}},
        {"storage": {"file": {"key": SECRET}}},
        {"sources": [{**TABLE, "name": "labels"}]},
        {"input": "/data/"},
        {"lightly": "/data"},
    ]
    other: list[dict[str, Any]] = [
        {"input": "/data2"},
        {"lightly": "/out"},
        {"media": {"include": ["a/*.png"]}},
        {"sources": [{**TABLE, "frame": "n"}]},
        {"sources": [{**TABLE, "metadata": {"a": "b"}}]},
        {"schema": "/schema.json"},
        {"policy": {"delete": "orphans"}},
        {"storage": {"file": {"endpoint_url": "http://elsewhere"}}},
    ]
    assert {job(**changes).digest() for changes in same} == {base.digest()}
    digests = {job(**changes).digest() for changes in other}
    assert len(digests) == len(other)
    assert base.digest() not in digests


def test_the_digest_lasts() -> None:
    """A kept plan is refused when it changes: it may only change with the meaning of a job."""
    assert job().digest() == "ea53a7ebd3c1e11350a8508f644e9405b18ac8e3ba07ff104edac2c8935b6b5e"


def test_options_of_text_are_in_the_digest_where_they_say_something() -> None:
    def digest(**options: Any) -> str:
        source = {"table": "/t.csv", **options}
        return Job.from_mapping({"input": "/in", "sources": [source]}).digest()

    plain = digest()
    assert plain == digest(decimal=".", header=True, skip={}, delimiter=None)
    several: list[dict[str, Any]] = [{"decimal": ","}, {"skip": {"after": 1}}, {"trim": True}, {"quote": ""}]
    assert len({plain, *(digest(**options) for options in several)}) == 5


def test_a_job_cannot_be_changed() -> None:
    made = job()
    with pytest.raises(ValidationError):
        made.concurrency = 5  # type: ignore[misc]


def test_the_json_schema_knows_the_short_forms() -> None:
    schema = Job.json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert {"url", "options"} == set(schema["$defs"]["Location"]["anyOf"][1]["properties"])
    assert schema["$defs"]["Location"]["anyOf"][0]["type"] == "string"
    assert "infer" in json.dumps(schema["properties"]["schema"]) or "Infer" in json.dumps(
        schema["properties"]["schema"]
    )
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["input", "sources"]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["input", "schema", "policy", "storage", "media", "concurrency", "x"])


@given(st.dictionaries(KEYS, ANY))
def test_nothing_but_a_job_error_comes_of_a_wrong_mapping(mapping: dict[str, Any]) -> None:
    with pytest.raises(JobError, match=r"sources: is missing"):
        Job.from_mapping(mapping)


def test_relative_paths_are_below_the_base(tmp_path: Path) -> None:
    made = Job.from_mapping(
        {
            "input": "data",
            "lightly": "file:out/",
            "state": {"url": "../state"},
            "sources": [{"table": "t/*.csv"}, {"table": "s3://b/t.csv"}, {"table": "file:///abs/t.csv"}],
            "schema": "schema.json",
            "scratch": "tmp",
        },
        base=tmp_path / "jobs",
    )
    here = f"{tmp_path}/jobs"
    assert made.input.url == f"{here}/data"
    assert made.lightly_location.url == f"{here}/out/"
    assert made.state_location.url == f"{tmp_path}/state"
    assert [source.table.url for source in made.sources] == [
        f"{here}/t/*.csv",
        "s3://b/t.csv",
        "file:///abs/t.csv",
    ]
    assert (made.schema_, made.scratch) == (f"{here}/schema.json", f"{here}/tmp")


def test_options_of_a_caller_lie_over_those_of_the_job() -> None:
    job = Job.from_mapping(
        {
            "input": "s3a://bucket/data",
            "sources": [{"table": "/t.parquet"}],
            "storage": {
                "s3a": {"key": "old", "anon": False, "client_kwargs": {"region_name": "r", "verify": True}}
            },
        }
    )
    more = job.with_storage({"s3": {"key": "new", "client_kwargs": {"verify": False}}})
    assert more.storage_options(more.input) == {
        "key": "new",
        "anon": False,
        "client_kwargs": {"region_name": "r", "verify": False},
    }
    assert job.storage_options(job.input)["key"] == "old"
    assert more.digest() == job.digest()
