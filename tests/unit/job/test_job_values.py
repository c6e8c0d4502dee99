"""Every plain key of a job, and every choice in `policy`, takes its documented values, also by `--set`."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml

from metaferry import Job
from metaferry.errors import JobError
from metaferry.job.parts import Policy
from metaferry.job.sources import Source

BASE: dict[str, Any] = {
    "input": "/in",
    "sources": [{"table": "/t.csv", "file_name": "f", "metadata": {"a": "a"}}],
}
VALUES: dict[str, list[Any]] = {
    "concurrency": [1, 4096],
    "retry_for": [0, 0.5],
    "memory_limit": ["1GB", "512MiB", "1.5 GB"],
    "scratch": ["/scratch"],
    "transport": ["auto", "fsspec"],
    "workers": ["auto", 1, 256],
    "max_rate": [None, 0.5],
    "verify": ["never", "sample 1%", "sample 0.5%", "all"],
    "lease_for": [5, 60.5],
    "lease_wait": [0, 90],
    "grace": [0, 20],
    "keep_runs": [1],
    "compact": [False, True],
}
#: Keys that are mappings or lists of their own.
COMPOUND = {
    "input",
    "lightly",
    "state",
    "storage",
    "media",
    "tables",
    "sources",
    "schema_",
    "policy",
    "backup",
    "metrics",
    "prices",
    "report",
}
CASES = [(key, value) for key, values in VALUES.items() for value in values]


def literals(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {member for part in get_args(annotation) for member in literals(part)}


def test_no_plain_key_and_no_choice_is_missing_here() -> None:
    assert set(Job.model_fields) == set(VALUES) | COMPOUND
    for key, values in VALUES.items():
        assert literals(Job.model_fields[key].annotation) <= set(values), key


@pytest.mark.parametrize(("key", "value"), CASES)
def test_a_value_alone_and_by_a_flag(key: str, value: Any) -> None:
    text = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    alone = Job.from_mapping({**BASE, key: value})
    flagged = Job.from_mapping(BASE, overrides=[f"{key}={text}"])
    assert getattr(alone, key) == getattr(flagged, key) == value


@pytest.mark.parametrize("value", ["obstore", "sockets"])
def test_a_transport_that_is_there_no_more_says_what_to_write(value: str) -> None:
    with pytest.raises(JobError, match="write auto"):
        Job.from_mapping({**BASE, "transport": value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (key, value)
        for key, field in Policy.model_fields.items()
        for value in sorted(literals(field.annotation))
    ],
)
def test_a_choice_of_the_policy(key: str, value: str) -> None:
    alone = Job.from_mapping({**BASE, "policy": {key: value}})
    flagged = Job.from_mapping(BASE, overrides=[f"policy.{key}={value}"])
    assert getattr(alone.policy, key) == getattr(flagged.policy, key) == value


@pytest.mark.parametrize("format_", sorted(literals(Source.model_fields["format"].annotation)))
def test_a_format_of_a_table(format_: str) -> None:
    source = {**BASE["sources"][0], "format": format_}
    alone = Job.from_mapping({**BASE, "sources": [source]})
    flagged = Job.from_mapping(BASE, overrides=[f"sources[0].format={format_}"])
    assert alone.sources[0].format == flagged.sources[0].format == format_


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": ";;"}, "should be one character, is ';;'"),
        ({"delimiter": "\n"}, "should be one character"),
        ({"columns": ["a"]}, "write header: false too"),
        ({"header": False}, "`columns` has to name the columns"),
        ({"header": False, "columns": []}, "should not be empty"),
        ({"delimiter": '"'}, "`delimiter` and `quote` cannot both be"),
        ({"comment": "#", "escape": "#"}, "`escape` and `comment` cannot both be '#'"),
        ({"thousands": "."}, "`thousands` cannot be '.' where `decimal` is '.'"),
        ({"decimal": ";"}, "should be . or ,"),
        ({"skip": 3}, "should be a mapping"),
        ({"skip": {"before": -1}}, "should be at least 0"),
        ({"skip": {"above": 1}}, "known here: before, after"),
    ],
)
def test_options_of_text_tables_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=re.escape(message)):
        Job.from_mapping({"input": "/in", "sources": [{"table": "/t.csv", **options}]})


def test_a_tab_may_be_written_as_elsewhere() -> None:
    job = Job.from_mapping({"input": "/in", "sources": [{"table": "/t.csv", "delimiter": "\\t"}]})
    assert job.sources[0].delimiter == "\t"
