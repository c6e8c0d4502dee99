"""Values become codes of one byte: bins at round numbers, gaps kept, integers as integers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaferry.view.report.bins import MOST_BINS, MOST_CODES, labels, number_bins


def test_bins_begin_at_round_numbers_and_cover_all_values() -> None:
    bins = number_bins(0.3, 97.4, core=(1.0, 96.0))
    assert (bins.low, bins.step, bins.count) == (0.0, 5.0, 20)
    assert not bins.below
    assert not bins.above


def test_every_bin_of_integers_has_the_same_number_of_them() -> None:
    few = number_bins(0, 12, core=(0, 12), integer=True)
    assert (few.low, few.step, few.count) == (0.0, 1.0, 13)
    many = number_bins(3, 203, core=(4, 200), integer=True)
    assert many.step == 10.0
    assert many.high > 203


def test_one_value_is_one_bin() -> None:
    for value in (0.0, 7.0, -1e300, 5e-324):
        bins = number_bins(value, value, core=(value, value))
        assert (bins.low, bins.count, bins.codes) == (value, 1, 1)


def test_a_far_default_does_not_flatten_the_rest() -> None:
    longitudes = number_bins(0.0, 13.9, core=(13.1, 13.7))
    assert longitudes.below
    assert longitudes.low >= 13.0
    assert longitudes.count > 10
    prices = number_bins(1.0, 1e6, core=(1.0, 50.0), missing=True)
    assert prices.above
    assert not prices.below
    assert prices.codes == prices.count + 2


def test_points_in_time_have_bins_of_days_and_hours() -> None:
    day = 86400.0
    assert number_bins(0.0, 30 * day, core=(0.0, 30 * day), time=True).step == day
    assert number_bins(0.0, 8 * 3600.0, core=(0.0, 8 * 3600.0), time=True).step == 1800.0
    assert number_bins(0.0, 40_000 * day, core=(0.0, 40_000 * day), time=True).step == 5 * 365 * day


@given(
    st.floats(-1e12, 1e12),
    st.floats(1e-6, 1e12),
    st.booleans(),
    st.booleans(),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_codes_always_fit_a_page(
    low: float, span: float, integer: bool, time: bool, one: float, other: float
) -> None:
    if integer:
        low, span = math.floor(low), math.ceil(span)
    high = low + span
    core = (low + span * min(one, other), low + span * max(one, other))
    bins = number_bins(low, high, core=core, integer=integer, time=time, missing=True)
    assert 1 <= bins.count <= MOST_BINS
    assert bins.codes <= MOST_CODES
    assert bins.below or bins.low <= low
    assert bins.above or bins.high >= high * (1 - 1e-12) or bins.count == 1
    assert bins.step > 0


def test_few_values_have_a_label_each_and_many_are_the_39_commonest_and_other() -> None:
    assert labels(["b", "a"], distinct=2, missing=False).values == ("b", "a")
    assert not labels(["b", "a"], distinct=2, missing=True).other
    many = labels([f"v{i}" for i in range(60)], distinct=60, missing=True)
    assert len(many.values) == 39
    assert many.other
    assert many.codes == 41
    # The sample has two values, all documents have more.
    assert labels(["b", "a"], distinct=3, missing=False).other


def test_numbers_as_labels_are_in_order() -> None:
    assert labels(["10", "9", "-1"], distinct=3, missing=False, numeric=True).values == ("-1", "9", "10")


@pytest.mark.parametrize("text", ["", "it's", "a\\b", "ünïcode", "<b>"])
def test_labels_become_literals(text: str) -> None:
    assert labels([text], distinct=1, missing=False).code_sql("v").count("ENUM") == 1
