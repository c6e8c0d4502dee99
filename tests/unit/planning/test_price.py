"""Whose list prices a store has, what a job's own do to them, and the limit on what a run may cost."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from metaferry.job.prices import Prices
from metaferry.planning.price import estimate
from metaferry.planning.price.limit import judge_cost
from metaferry.planning.price.model import (
    LOCAL,
    Price,
    PriceTable,
    Requests,
    Store,
    add_up,
    money,
    unit_price,
)
from metaferry.planning.price.tables import AZURE, GCS, S3, prices_of, store_name

EMULATOR = "DefaultEndpointsProtocol=http;AccountName=a;BlobEndpoint=http://127.0.0.1:1/a;"
REAL = "AccountName=a;AccountKey=aa==;BlobEndpoint=https://a.blob.core.windows.net/"


@pytest.mark.parametrize(
    ("url", "options", "environ", "wanted"),
    [
        ("s3://fleet/2026", {}, {}, S3),
        ("s3a://fleet", {"key": "k"}, {}, S3),
        ("s3://fleet", {"endpoint_url": "http://minio:9000"}, {}, None),
        ("s3://fleet", {"client_kwargs": {"endpoint_url": "http://minio:9000"}}, {}, None),
        ("s3://fleet", {}, {"AWS_ENDPOINT_URL_S3": "http://minio:9000"}, None),
        ("s3://fleet", {}, {"AWS_ENDPOINT_URL": "http://minio:9000"}, None),
        ("s3://fleet--use1-az4--x-s3", {}, {}, None),  # a directory bucket
        ("gs://fleet", {}, {}, GCS),
        ("gcs://fleet", {"endpoint_url": "http://127.0.0.1:1"}, {}, None),
        ("gs://fleet", {}, {"STORAGE_EMULATOR_HOST": "127.0.0.1:1"}, None),
        ("az://fleet", {"account_name": "a"}, {}, AZURE),
        ("abfss://fleet@a.dfs.core.windows.net/x", {}, {}, AZURE),
        ("az://fleet", {"connection_string": REAL}, {}, AZURE),
        ("az://fleet", {"connection_string": EMULATOR}, {}, None),
        ("az://fleet", {"connection_string": "UseDevelopmentStorage=true"}, {}, None),
        ("az://fleet", {}, {"AZURE_STORAGE_CONNECTION_STRING": EMULATOR}, None),
        ("az://fleet", {"account_host": "127.0.0.1:10000"}, {}, None),
        ("az://fleet", {"account_host": "a.blob.core.windows.net"}, {}, AZURE),
        ("/data", {}, {}, None),
        ("file:///data", {}, {}, None),
        ("memory://x", {}, {}, None),
        ("https://host/tables", {}, {}, None),
    ],
)
def test_only_a_cloud_at_its_own_host_has_list_prices(
    url: str, options: dict[str, Any], environ: dict[str, str], wanted: PriceTable | None
) -> None:
    assert prices_of(url, options, environ, None) is wanted


def test_a_table_has_a_date_and_a_region_and_no_guess() -> None:
    for table in (S3, GCS, AZURE):
        assert table.as_of.startswith("2026")
        assert ", " in table.name
    assert (AZURE.list, AZURE.tags, GCS.tags) == (None, None, None)
    assert [table.sure for table in (S3, GCS, AZURE)] == [True, True, False]


def test_the_prices_of_a_job_go_over_the_list_prices() -> None:
    over = prices_of("s3://fleet", {}, {}, Prices(put=0.003, per=10_000))
    assert over is not None
    assert (over.put, over.get, over.per) == (0.003, pytest.approx(0.004), 10_000)
    assert over.name == "prices of the job over S3 Standard, us-east-1"
    assert over.as_of == S3.as_of
    # Another currency: list prices in dollars say nothing.
    euros = prices_of("s3://fleet", {}, {}, Prices(put=0.003, currency="EUR"))
    assert euros == PriceTable("prices of the job", put=0.003, currency="EUR")
    # A store of one's own, and Azure with all of its prices.
    own = prices_of(
        "s3://fleet", {"endpoint_url": "http://minio"}, {}, Prices(put=0, list=0, get=0, delete=0)
    )
    assert own == PriceTable("prices of the job", put=0, list=0, get=0, delete=0)
    azure = prices_of("az://fleet", {}, {}, Prices(put=0.005, list=0.005, get=0.0004, delete=0))
    assert azure is not None
    assert azure.sure
    assert prices_of("/data", {}, {}, Prices(put=1)) is None


@pytest.mark.parametrize(
    "wrong", [{"put": -1}, {"per": 0}, {"currency": "dollars"}, {"put": True}, {"puts": 1}]
)
def test_a_price_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Prices.model_validate(wrong)


def test_stores_are_named_without_what_is_below_them() -> None:
    names = [
        store_name(url) for url in ("s3://fleet/2026/a", "az://c", "/data", "file:///data", "memory://x/y")
    ]
    assert names == ["s3://fleet", "az://c", LOCAL, LOCAL, LOCAL]


def test_a_price_is_that_of_each_store_and_none_where_none_is_known() -> None:
    puts = Requests(put=1_000_000, list=1_000, get=1_000, delete=5)
    price = Price.of(
        [Store("s3://b", puts, S3), Store("s3://c", Requests(get=2)), Store(LOCAL, Requests(get=9))]
    )
    assert price.amount == pytest.approx(5 + 0.005 + 0.0004)
    assert price.currency == "USD"
    assert price.unpriced == ("s3://c",)
    assert price.requests == puts + Requests(get=2)
    assert Price.of([Store(LOCAL, Requests(get=9))]).amount is None
    # Part of the prices is known: the sum is of that part, and the rest is named.
    azure = Store("az://c", Requests(put=1_000, list=3), AZURE)
    assert azure.amount == pytest.approx(0.0055)
    assert AZURE.unknown(azure.requests) == ("list",)


def test_requests_to_one_store_are_one_line() -> None:
    added = add_up(
        [Store("b", Requests(get=1), S3), Store("a", Requests(put=1)), Store("b", Requests(get=2), S3)]
    )
    assert added == [Store("a", Requests(put=1)), Store("b", Requests(get=3), S3)]


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (5.0, "USD", "$5.00"),
        (0.0, "USD", "$0.00"),
        (0.0049, "USD", "under $0.01"),
        (1234.567, "EUR", "1,234.57 EUR"),
    ],
)
def test_money_in_words(amount: float, currency: str, shown: str) -> None:
    assert money(amount, currency) == shown


def test_the_price_of_a_thousand_in_words() -> None:
    assert unit_price(0.0004, "USD", 1_000) == "$0.0004/1,000"
    assert unit_price(5, "EUR", 1_000_000) == "5 EUR/1,000,000"


# -- the limit


def priced(max_cost: float | None, table: PriceTable | None = S3, **requests: int) -> Price:
    return Price.of([Store("s3://b", Requests(**requests), table)], max_cost=max_cost)


def test_a_run_within_its_limit_may_begin() -> None:
    assert judge_cost(priced(None, put=10**9)) == ("", "")
    assert judge_cost(priced(5.0, put=1_000_000)) == ("", "")
    assert judge_cost(Price.of([Store(LOCAL, Requests(put=10**9))], max_cost=0.0)) == ("", "")
    # Without puts nothing of a store without prices stands in the way.
    assert judge_cost(priced(1.0, None, get=5)) == ("", "")


def test_the_advice_of_a_run_above_its_limit_lets_it_pass() -> None:
    price = priced(5, put=1_000_001)
    stopped, advice = judge_cost(price)
    assert stopped == "its requests would cost about $5.00, and policy.max_cost is 5"
    enough = float(advice.rpartition("=")[2])
    assert enough == 5.01
    assert judge_cost(priced(enough, put=1_000_001)) == ("", "")


def test_a_limit_that_cannot_be_judged_stops() -> None:
    for table in (None, PriceTable("prices of the job", get=1)):
        stopped, advice = judge_cost(priced(5, table, put=1))
        assert stopped == "policy.max_cost is 5, and what a put to s3://b costs is not known"
        assert "--set 'prices=" in advice


# -- the estimate


def test_a_sync_without_changes_asks_for_its_lease_and_its_report() -> None:
    facts = estimate.Facts(state_looks=True)
    assert estimate.of_documents(facts) == Requests()
    assert estimate.of_state(facts) == Requests(put=2, delete=1, get=1)
    assert estimate.of_state(estimate.Facts(begun=True)) == Requests(put=1, delete=1)


def test_each_change_is_one_put_and_a_ledger_has_a_piece_a_million() -> None:
    facts = estimate.Facts(writes=2_500_000, deletes=10, looks=True, schema=True, entries=True, begun=True)
    assert estimate.of_documents(facts) == Requests(put=2_500_001, get=10, delete=10)
    # run.json, started.json, inferred.json and three pieces of the ledger.
    assert estimate.of_state(facts) == Requests(put=6, get=1, list=1, delete=1)


def test_what_a_smaller_run_would_save() -> None:
    facts = estimate.Facts(writes=50_000, read_back=50_000)
    inventory, verify = estimate.savings(facts, S3, GCS, listed=100_000_000, share=1)
    assert inventory.requests == Requests(list=99_999)
    assert inventory.amount == pytest.approx(0.499995)
    assert verify.amount == pytest.approx(0.02)
    assert estimate.savings(facts, S3, S3, listed=0, share=0) == ()
    assert estimate.savings(facts, S3, S3, listed=999_000, share=0) == ()
    unknown = estimate.savings(facts, AZURE, AZURE, listed=2_000_000, share=0)
    assert [saving.amount for saving in unknown] == [None]
