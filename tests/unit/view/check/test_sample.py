"""The sample of a check: which documents it takes, and what is said about those that it does not take."""

from __future__ import annotations

import math

import duckdb
import pytest

from metaferry.errors import UsageError
from metaferry.view.check.sample import Sample, at_most, in_words, percent


@pytest.mark.parametrize(
    ("read", "share"),
    [(300, 0.00994), (1_000, 0.00299), (3_000, 0.000998), (10_000, 0.0003), (100_000, 0.00003)],
)
def test_none_invalid_of_a_large_tree(read: int, share: float) -> None:
    """1 - 0.05^(1/n), as exact tables have it."""
    total = 1_000_000_000
    assert at_most(total, read, 0) / total == pytest.approx(share, rel=0.006)


@pytest.mark.parametrize(
    ("total", "read", "limit"), [(10_000, 3_000, 8), (1_000_000, 100_000, 28), (50, 50, 0), (10, 0, 10)]
)
def test_none_invalid_of_a_tree_of_known_size(total: int, read: int, limit: int) -> None:
    assert at_most(total, read, 0) == limit


def test_some_invalid_is_the_limit_of_clopper_and_pearson() -> None:
    # 5 of 1,000: 1.0487 % (beta quantile 0.95 with 6 and 995), from a published table.
    assert at_most(100_000_000, 1_000, 5) / 100_000_000 == pytest.approx(0.010487, rel=0.002)


def exact(total: int, read: int, found: int) -> int:
    """The largest number of faulty ones with which so few are found in 5 % of all draws, in whole numbers."""

    def likely(faulty: int) -> bool:
        ways = (math.comb(faulty, k) * math.comb(total - faulty, read - k) for k in range(found + 1))
        return 20 * sum(ways) >= math.comb(total, read)

    return max(n for n in range(found, total - (read - found) + 1) if likely(n))


@pytest.mark.parametrize("total", [1, 7, 40, 61])
def test_the_limit_is_exact(total: int) -> None:
    for read in range(1, total + 1, 3):
        for found in range(0, read + 1, 2):
            assert at_most(total, read, found) == exact(total, read, found), (total, read, found)


def test_many_invalid_of_many_take_no_longer() -> None:
    """5 of 10 million are invalid: a term for each of them, 27 times, would take minutes."""
    assert at_most(100_000_000, 10_000_000, 5_000_000) == 50_024_677


def test_the_words() -> None:
    assert in_words(1_000_000, 3_000, 0) == (
        "0 of 3,000 read are invalid: with 95 % confidence at most 0.1 % (about 996 of 1,000,000) are"
    )
    assert in_words(40, 40, 1) == "1 of 40 read is invalid"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (0.00994, "1 %"),
        (0.000998, "0.1 %"),
        (0.0000301, "0.0031 %"),
        (0.123, "13 %"),
        (1, "100 %"),
    ],
)
def test_percent_is_rounded_up(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "0/3", "4/3", "1/0", "-5", "x"])
def test_what_is_no_sample(text: str) -> None:
    with pytest.raises(UsageError, match="is no sample"):
        Sample.parse(text)


def chosen(sample: Sample, keys: int = 4_000) -> set[int]:
    hashed = sample.hash_sql("key")
    rows = duckdb.sql(
        f"SELECT n FROM (SELECT n, {hashed} AS h, row_number() OVER (ORDER BY h) AS r FROM "
        f"(SELECT range AS n, 'k' || range AS key FROM range({keys}))) WHERE {sample.chosen_sql('h', 'r')}"
    ).fetchall()
    return {n for (n,) in rows}


def test_a_share_is_about_that_share_and_a_number_that_number() -> None:
    assert 300 <= len(chosen(Sample.parse("10%"))) <= 500
    assert len(chosen(Sample.parse("1_000"))) == 1_000
    assert chosen(Sample.parse("10%")) != chosen(Sample.parse("10%", seed=1))


def test_the_parts_are_the_whole() -> None:
    parts = [chosen(Sample.parse(f"{part}/3")) for part in (1, 2, 3)]
    assert set().union(*parts) == set(range(4_000))
    assert sum(map(len, parts)) == 4_000
