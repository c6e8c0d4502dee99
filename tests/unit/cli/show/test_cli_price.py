"""The price of a run as lines: counts always, money only where prices are known."""

from __future__ import annotations

from metaferry.cli.show.price import price_lines
from metaferry.planning.price.model import LOCAL, Price, PriceTable, Requests, Saving, Store
from metaferry.planning.price.tables import AZURE, GCS, S3


def shown(price: Price, *, planned: bool = True) -> str:
    return "\n".join(str(line) for line in price_lines(price, planned=planned))


def test_requests_by_kind_with_their_price() -> None:
    asked = Requests(put=100_000_000, list=100_000, get=31, delete=1)
    saving = Saving(
        "media from an inventory (media.inventory) in place of a listing", Requests(list=99_999), 0.5
    )
    price = Price.of([Store("s3://fleet", asked, S3)], max_cost=400, savings=[saving])
    assert shown(price) == (
        "Price    100,000,000  puts    × $0.005/1,000   = $500.00\n"
        "             100,000  lists   × $0.005/1,000   = $0.50\n"
        "                  31  gets    × $0.0004/1,000  = under $0.01\n"
        "                   1  delete  free\n"
        "         $500.50 (S3 Standard, us-east-1, list prices as of 2026; retries and renewals of "
        "the lease not counted)\n"
        "         policy.max_cost is 400\n"
        "         media from an inventory (media.inventory) in place of a listing would save "
        "99,999 lists = $0.50\n"
    )


def test_less_than_a_cent_is_one_line() -> None:
    price = Price.of([Store("s3://fleet", Requests(put=2, list=3, delete=1), S3)])
    assert shown(price, planned=False) == (
        "Price    2 puts, 3 lists, 1 delete: under $0.01 (S3 Standard, us-east-1, list prices as of 2026; "
        "each attempt counted)\n"
    )


def test_a_store_without_prices_has_counts_only() -> None:
    text = shown(Price.of([Store("s3://minio\x1b[2J", Requests(put=1_000_000, list=1))]))
    assert text.startswith("Price    1,000,000 puts, 1 list\n")
    assert "is not known for s3://minio\\x1b[2J: `prices:` in the job says it" in text
    assert "$" not in text


def test_what_is_not_sure_is_not_shown_as_sure() -> None:
    text = shown(Price.of([Store("az://fleet", Requests(put=2_000_000, list=2_000), AZURE)]))
    assert "puts   × about $0.0055/1,000  = $11.00" in text
    assert "lists  price not known" in text
    assert "about $11.00, without lists, whose price is not known (Azure Blob Storage, East US" in text


def test_several_stores_are_told_apart() -> None:
    tables = Store("gs://tables", Requests(get=100_000), GCS)
    price = Price.of([tables, Store("s3://fleet", Requests(put=10_000), S3), Store(LOCAL, Requests(get=4))])
    text = shown(price)
    assert [text.index(each) for each in ("gs://tables", "s3://fleet", "$0.09 in all")]
    assert LOCAL not in text


def test_local_files_have_no_price() -> None:
    assert shown(Price.of([Store(LOCAL, Requests(put=10_000))])) == ""


def test_prices_of_the_job_have_no_date() -> None:
    own = PriceTable("prices of the job", put=1, currency="EUR")
    assert "20.00 EUR (prices of the job; each" in shown(
        Price.of([Store("s3://m", Requests(put=20_000), own)]), planned=False
    )
