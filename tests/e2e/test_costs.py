"""docs/costs.md: its formulas against a server that counts, its figures against the code of the price."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.test_price import Fleet
from metaferry.planning.price.estimate import PAGE, Facts, of_documents, of_state
from metaferry.planning.price.model import PriceTable, Requests, money
from metaferry.planning.price.tables import AZURE, GCS, S3
from servers.s3 import FastS3

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/costs.md").read_text(encoding="utf-8")
#: As the page names them.
TABLES = {"S3": S3, "Google Cloud Storage": GCS, "Azure, without listings": AZURE}
SIZES = {"1 M": 1_000_000, "100 M": 100_000_000}


def table(first: str) -> list[list[str]]:
    """The cells of the rows of the table that begins with this column."""
    lines = TEXT[TEXT.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def value(cell: str, **known: int) -> int:
    """A formula of the page; `tables` are read from a file of the machine here."""
    formula = cell.replace("on S3, X more", "X").replace("; ", " + ").replace(",", "").replace("tables", "0")
    found: float = eval(formula, {}, dict(known))  # of our own page
    return round(found)


def by_formula(column: int, **known: int) -> Requests:
    return Requests(**{row[0]: value(row[column], **known) for row in table("kind")})


def by_code(media: int, *, writes: int, in_place: int, deletes: int = 0) -> Requests:
    """What the code that prices plans says of such a run, with the listings before it."""
    first = not in_place
    listings = -(-media // PAGE) + max(1, -(-in_place // PAGE))
    facts = Facts(writes=writes, deletes=deletes, schema=first, looks=True, probes=int(first), entries=first)
    return Requests(list=listings) + of_documents(facts) + of_state(facts)


RUNS = [(1, 1.0, True), (2, 0.0, False), (3, 0.01, False)]


@pytest.mark.parametrize(("column", "share", "first"), RUNS)
@pytest.mark.parametrize("size", [10_000, *SIZES.values()])
def test_the_formulas_are_those_of_the_code(column: int, share: float, first: bool, size: int) -> None:
    in_place = 0 if first else size
    writes = round(size * share)
    shown = by_formula(column, M=size, D=size, C=writes, X=0)
    found = by_code(size, writes=writes, in_place=in_place)
    # A piece of the ledger for each million, and pages of the listing that are kept meanwhile, are not told.
    slack = 8 + size // 500_000
    for kind, number in shown:
        assert abs(number - getattr(found, kind)) <= slack, kind


def shown_as(prices: PriceTable, requests: Requests) -> str:
    text = money(prices.amount(requests), prices.currency)
    return text if prices.sure or text.startswith("under") else f"about {text}"


@pytest.mark.parametrize("row", table("store"), ids=lambda row: f"{row[0]} {row[1]}")
def test_the_money_is_what_the_price_table_says(row: list[str]) -> None:
    prices, size = TABLES[row[0]], SIZES[row[1]]
    for cell, (column, share, _) in zip(row[2:], RUNS, strict=True):
        assert cell == shown_as(prices, by_formula(column, M=size, D=size, C=round(size * share), X=0))


def test_the_money_of_a_schedule() -> None:
    text = TEXT[TEXT.index("A schedule pays") :]
    rows = re.findall(r"^\| S3, Google Cloud Storage \| (\S+ M) \| (.*) \|$", text, re.MULTILINE)
    assert [size for size, _ in rows] == list(SIZES)
    for name, cells in rows:
        size = SIZES[name]
        one = S3.amount(by_formula(2, M=size, D=size, C=0, X=0))
        assert one == GCS.amount(by_formula(2, M=size, D=size, C=0, X=0))
        assert cells.split(" | ") == [money(one * runs) for runs in (2880, 720, 30)]


# -- over the wire


@pytest.fixture
def fleet(fast_s3_server: FastS3, tmp_path: Path) -> Iterator[Fleet]:
    yield Fleet(fast_s3_server, fast_s3_server.new_bucket(), tmp_path)
    fast_s3_server.reset()


@pytest.mark.servers
@pytest.mark.slow
def test_the_formulas_are_what_reaches_a_server(fleet: Fleet) -> None:
    media, changed, gone = 2_500, 250, 10
    fleet.server.seed(fleet.bucket, [f"data/i{number:06}.png" for number in range(media)])
    rows = [f"i{number:06}.png,city" for number in range(media)]
    more: dict[str, Any] = {"policy": {"delete": "orphans", "max_delete": "100%"}}

    def asked(labels: list[str]) -> Requests:
        fleet.label(*labels)
        fleet.server.clear()
        assert metaferry.sync(fleet.job(**more)).exit_code == 0
        return fleet.asked()

    known = {"M": media, "D": media}
    other = [row.replace("city", "road") if at < changed else row for at, row in enumerate(rows)][:-gone]
    for column, labels, writes, deletes in (
        (1, rows, media, 0),
        (2, rows, 0, 0),
        (3, other, changed, gone),
    ):
        found, shown = asked(labels), by_formula(column, **known, C=writes, X=deletes)
        for kind, number in shown:
            # The splits of a listing that is read in parallel weigh more in a small one.
            slack = 8 if kind == "list" else 4
            assert abs(number - getattr(found, kind)) <= slack, (column, kind, found)
