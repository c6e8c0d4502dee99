"""The keys of a source that is joined to frames by time: durations, patterns, starts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from metaferry.job.readers.time_join import Joined, SampleTime, Start, nanoseconds, pattern_regex


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-2.5s", -2_500_000_000),
        ("+ 1 h", 3_600 * 10**9),
        ("100ms", 10**8),
        ("0.000000001s", 1),
        ("30min", 1_800 * 10**9),
        ("-1d", -86_400 * 10**9),
    ],
)
def test_durations_are_exact(text: str, value: int) -> None:
    assert nanoseconds(text) == value


@pytest.mark.parametrize("text", ["2", "s", "1 fortnight", "0.5ns", "--1s", "1e3s", "40000d", "1,5s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|nanosecond|years"):
        nanoseconds(text)


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        ("NO%Y%m%d-%H%M%S", "NO20191130-120156-000.mp4", ("2019", "11", "30", "12", "01", "56")),
        ("PXL_%Y%m%d_%H%M%S%f", "PXL_20220831_003137144.mp4", ("2022", "08", "31", "00", "31", "37")),
        ("%Y-%m-%d?%H.%M", "a 2022-08-31 10.30 b.mp4", ("2022", "08", "31", "10", "30", None)),
    ],
)
def test_a_pattern_finds_the_time_in_a_name(pattern: str, name: str, found: tuple[str | None, ...]) -> None:
    match = re.search(pattern_regex(pattern), name)
    assert match is not None
    groups = match.groupdict()
    assert tuple(groups.get(part) for part in "YmdHMS") == found


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"from": "container"}, "means: start or means: end"),
        ({"from": "file_name", "zone": "UTC"}, "needs `pattern`"),
        ({"from": "file_name", "pattern": "%Y%m%d-%H%M%S"}, "says no zone"),
        ({"from": "file_name", "pattern": "%H%M%S", "zone": "UTC"}, "gives no time"),
        ({"from": "file_name", "pattern": "%Q", "zone": "UTC"}, "%Q is not known"),
        ({"from": "file_name", "pattern": "%Y%Y%m%d%H%M", "zone": "UTC"}, "%Y stands twice"),
        ({"from": "column"}, "needs `column`"),
        ({"from": "table", "column": "t"}, "needs `table`"),
        ({"from": "first_sample", "means": "end"}, "`means` has no meaning"),
        ({"from": "zero", "zone": "UTC"}, "`zone` has no meaning"),
        ({"from": "container", "means": "end", "pattern": "%s"}, "`pattern` is for `file_name`"),
        ({"from": "first_sample", "column": "t"}, "`column` is for `column` and `table`"),
        ({"from": "first_sample", "offset": "2"}, "no duration"),
        ({"from": "first_sample", "offset": 2}, "has no unit"),
        ({"from": "container", "means": "start", "zone": "Europe Berlin"}, "is no time zone"),
        ({"from": "exif"}, "should be|Input"),
    ],
)
def test_every_mistake_in_a_start_is_one_clear_fault(start: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Start.model_validate(start)
    assert raised.value.error_count() == 1
    assert re.search(message, str(raised.value))


def test_a_start_in_seconds_of_a_name_needs_no_zone() -> None:
    assert Start.model_validate({"from": "file_name", "pattern": "rec_%s"}).offset == "0s"
    assert Start.model_validate("first_sample").from_ == "first_sample"
    assert SampleTime.model_validate("t").column == "t"


@pytest.mark.parametrize("value", [{}, {"linear": "a", "nearest": "b"}, {"max_gap": "1s"}])
def test_a_value_is_joined_in_one_way(value: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="should have one of `linear`, `angular`"):
        Joined.model_validate(value)


@pytest.mark.parametrize("gap", ["0s", "-1s", "much", 1])
def test_a_gap_is_some_time(gap: Any) -> None:
    with pytest.raises(ValidationError):
        Joined.model_validate({"linear": "a", "max_gap": gap})
