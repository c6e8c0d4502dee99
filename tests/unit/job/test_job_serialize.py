"""A job that is written down beside a plan: the same job again, and never a secret of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaferry import Job
from metaferry.errors import JobError
from metaferry.job.serialize import keep_job, restore_job

SECRET = "canary-secret-0815"
SOURCES: Any = [{"table": "tables/t.csv", "metadata": {"a": "b || '://u:p@h'"}}]


def a_job(**changes: Any) -> Job:
    return Job.from_mapping({"input": "s3://b/x", "sources": SOURCES, **changes}, base="/jobs")


def test_variables_stay_as_they_were_written_and_paths_become_absolute() -> None:
    options = {
        "key": "${K}",
        "endpoint_url": "http://h:1",
        "anon": False,
        "client_kwargs": {"region_name": "r"},
    }
    with mock.patch.dict(os.environ, {"K": SECRET, "ROOT": "/data"}):
        job = a_job(input="${ROOT}/x", lightly="docs", storage={"s3": options}, scratch="$${x}")
        kept, left_out = keep_job(job)
        assert kept is not None
        assert left_out == ""
        assert kept["input"] == "${ROOT}/x"
        assert (kept["lightly"], kept["sources"][0]["table"]) == ("/jobs/docs", "/jobs/tables/t.csv")
        assert kept["storage"]["s3"] == options
        assert SECRET not in json.dumps(kept)
        again = restore_job(json.loads(json.dumps(kept)))
        assert (again == job, again.digest() == job.digest()) == (True, True)
        assert restore_job(kept, ["concurrency=3"]).concurrency == 3
    with pytest.raises(JobError, match="K is not set"):
        restore_job(kept)


def test_flags_are_part_of_it() -> None:
    job = Job.from_mapping({"input": "s3://b/x", "sources": SOURCES}, overrides=["policy.max_rejects=5"])
    kept, _ = keep_job(job)
    assert kept is not None
    assert restore_job(kept).policy.max_rejects == 5


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"storage": {"s3": {"secret": SECRET}}}, "storage.s3.secret"),
        ({"storage": {"s3": {"client_kwargs": {"aws_session_token": SECRET}}}}, "storage.s3.client_kwargs"),
        ({"storage": {"gs": {"token": SECRET}}}, "storage.gs.token"),
        ({"storage": {"gs": {"token": {"private_key": SECRET}}}}, "storage.gs.token.private_key"),
        ({"storage": {"az": {"credential": object()}}}, "storage.az.credential"),
        ({"storage": {"s3": {"endpoint_url": f"http://u:{SECRET}@h"}}}, "storage.s3.endpoint_url"),
        ({"storage": {"s3": {"secret": "prefix-${HOME}"}}}, "storage.s3.secret"),
        ({"lightly": {"url": "s3://b", "options": {"secret": SECRET}}}, "lightly.options.secret"),
        ({"lightly": f"sftp://u:{SECRET}@h/x"}, "lightly"),
        ({"sources": [{"table": f"https://h/t.csv?sig={SECRET}"}]}, "sources.0.table"),
    ],
)
def test_what_may_be_a_secret_keeps_the_job_out(changes: dict[str, Any], place: str) -> None:
    kept, left_out = keep_job(a_job(**changes))
    assert kept is None
    assert left_out.startswith(place)
    assert SECRET not in left_out


@pytest.mark.parametrize(
    "options",
    [
        {"gs": {"token": "anon", "project": "p"}},
        {"gs": {"token": "/var/run/key.json"}},
        {"s3": {"anon": True, "use_ssl": False, "config_kwargs": {"signature_version": "s3v4"}}},
        {"az": {"account_name": "a", "connection_string": "${CONNECTION}"}},
    ],
)
def test_what_is_no_secret_is_kept(options: Any) -> None:
    with mock.patch.dict(os.environ, {"CONNECTION": SECRET}):
        kept, left_out = keep_job(a_job(storage=options))
    assert (left_out, kept and kept["storage"]) == ("", options)


def test_a_job_made_of_values_is_kept_as_well() -> None:
    job = Job.model_validate({"input": "s3://b/${x}", "sources": ({"table": "s3://t/t.csv", "frame": "f"},)})
    kept, _ = keep_job(job)
    assert kept is not None
    assert restore_job(kept) == job


def test_a_copy_with_other_values_is_what_is_kept() -> None:
    kept, _ = keep_job(a_job().model_copy(update={"concurrency": 7}))
    assert kept is not None
    assert restore_job(kept).concurrency == 7


def test_where_a_job_comes_from_is_no_part_of_it() -> None:
    with mock.patch.dict(os.environ, {"SCHEME": "s3"}):
        other = Job.from_mapping({"input": "${SCHEME}://b/x", "sources": SOURCES}, base="/jobs")
    assert other == a_job()
    assert other.origin != a_job().origin


OPTION = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from([SECRET, "${HOME}", "eu-1", "anon"])),
    lambda inner: st.dictionaries(
        st.sampled_from(["secret", "token", "options", "client_kwargs", "x"]), inner, max_size=3
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["s3", "gs"]), st.dictionaries(st.sampled_from("abc"), OPTION)))
def test_no_secret_is_ever_kept(storage: Mapping[str, Any]) -> None:
    kept, left_out = keep_job(a_job(storage=storage))
    assert (kept is None) == bool(left_out)
    assert SECRET not in json.dumps(kept)


def a_query(uri: str, **more: Any) -> Job:
    return a_job(sources=[{"sql": {"uri": uri, "query": "SELECT 'a' AS file_name", **more}}])


@pytest.mark.parametrize(
    ("uri", "more"),
    [
        ("${PG}", {}),
        ("postgresql://ann:${PASSWORD}@db/fleet?sslmode=require", {}),
        ("postgresql://ann@db:5432/fleet", {}),
        ("sqlite:///labels.db", {}),
        ("host=db password=${PASSWORD}", {"driver": "adbc_driver_postgresql"}),
        ("snowflake://x", {"db_kwargs": {"adbc.snowflake.sql.client_option.jwt_private_key": "${PASSWORD}"}}),
    ],
)
def test_a_query_whose_password_is_a_variable_is_kept(uri: str, more: dict[str, Any]) -> None:
    with mock.patch.dict(os.environ, {"PG": f"postgresql://ann:{SECRET}@db/fleet", "PASSWORD": SECRET}):
        job = a_query(uri, **more)
        kept, left_out = keep_job(job)
        if uri.startswith("host="):  # what is no URL may have a password anywhere
            assert (kept, left_out) == (None, "sources.0.sql.uri")
            return
        assert kept is not None, left_out
        assert SECRET not in json.dumps(kept)
        assert restore_job(kept) == job


@pytest.mark.parametrize(
    ("uri", "more", "place"),
    [
        (f"postgresql://ann:{SECRET}@db/fleet", {}, "uri"),
        (f"mysql://ann:${{USER_NAME}}{SECRET}@db/fleet", {}, "uri"),
        (f"postgresql://db/fleet?password={SECRET}", {}, "uri"),
        (f"postgresql://db/fleet?user=ann&sslpassword={SECRET}", {}, "uri"),
        (f"postgresql://ann:pa/ss{SECRET}@db/fleet", {}, "uri"),
        (f"host=db password={SECRET}", {"driver": "adbc_driver_postgresql"}, "uri"),
        (f"{SECRET}", {"driver": "adbc_driver_other"}, "uri"),
        ("snowflake://x", {"db_kwargs": {"password": SECRET}}, "db_kwargs.password"),
    ],
)
def test_a_query_with_a_password_is_not_kept(uri: str, more: dict[str, Any], place: str) -> None:
    with mock.patch.dict(os.environ, {"USER_NAME": "ann"}):
        kept, left_out = keep_job(a_query(uri, **more))
    assert kept is None
    assert left_out == f"sources.0.sql.{place}"


def test_secrets_of_lake_tables_and_catalogs_are_not_kept() -> None:
    catalog = {"catalog": "prod", "name": "a.b", "properties": {"token": SECRET}}
    assert keep_job(a_job(sources=[{"iceberg": catalog}])) == (None, "sources.0.iceberg.properties.token")
    table = {"url": "s3://b/t", "options": {"secret": SECRET}}
    assert keep_job(a_job(sources=[{"delta": table}])) == (None, "sources.0.delta.options.secret")
    assert keep_job(a_job(sources=[{"delta": "s3://b/t"}]))[0] is not None


def test_no_repr_and_no_fault_shows_what_reaches_a_database() -> None:
    job = a_query(f"postgresql://ann:{SECRET}@db/fleet", db_kwargs={"password": f"{SECRET}-too"})
    assert SECRET not in repr(job)
    with pytest.raises(JobError) as found:
        a_query({"bad": SECRET}, db_kwargs=f"{SECRET}-text")  # type: ignore[arg-type]
    assert SECRET not in str(found.value)
