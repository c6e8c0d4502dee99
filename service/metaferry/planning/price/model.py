"""Requests by kind and by store, and their price, as `run.json` and `plan.json` keep them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Final

from metaferry.storage.counts import RequestCounts

#: The kinds of requests that stores bill apart, in the order in which they are shown.
KINDS: Final = ("put", "list", "get", "delete", "tags")

#: What `Store.name` is for files of this machine, which no one bills.
LOCAL: Final = "local files"


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests by kind. `tags` are those about the tags of objects."""

    list: int = 0
    get: int = 0
    put: int = 0
    delete: int = 0
    tags: int = 0

    @classmethod
    def of(cls, counts: RequestCounts) -> Requests:
        """The requests that were counted, each attempt of them."""
        return cls(counts.list, counts.get, counts.put, counts.delete, counts.tags)

    def __add__(self, other: Requests) -> Requests:
        return Requests(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def __sub__(self, other: Requests) -> Requests:
        return Requests(*(getattr(self, each.name) - getattr(other, each.name) for each in fields(self)))

    def __bool__(self) -> bool:
        return any(getattr(self, kind) for kind in KINDS)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Kind and number, in the order of `KINDS`."""
        return ((kind, getattr(self, kind)) for kind in KINDS)


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The price of `per` requests of each kind; None where it is not known.

    `name` says whose prices they are, and of which region; `as_of` when they were found (a date, or its
    beginning; "" for prices that the job gives). `sure` is false for prices from a source that is not the
    store's own, which are shown as `about`.
    """

    name: str
    put: float | None = None
    list: float | None = None
    get: float | None = None
    delete: float | None = None
    tags: float | None = None
    currency: str = "USD"
    per: int = 1_000
    as_of: str = ""
    sure: bool = True

    def amount(self, requests: Requests) -> float:
        """What they cost, without the kinds whose price is not known."""
        return math.fsum(
            number / self.per * price
            for kind, number in requests
            if (price := getattr(self, kind)) is not None
        )

    def unknown(self, requests: Requests) -> tuple[str, ...]:
        """The kinds that were asked and whose price is not known."""
        return tuple(kind for kind, number in requests if number and getattr(self, kind) is None)


@dataclass(frozen=True, slots=True)
class Store:
    """The requests to one store (`s3://bucket`, `local files`), and its prices; None where there are none."""

    name: str
    requests: Requests
    prices: PriceTable | None = None

    @property
    def amount(self) -> float | None:
        return None if self.prices is None else self.prices.amount(self.requests)


@dataclass(frozen=True, slots=True)
class Saving:
    """A run that would ask for less: what is different, and the requests and the money that it saves."""

    what: str
    requests: Requests
    amount: float | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """The requests of a run by store, and what they cost.

    Of a plan they are an estimate of all that a sync sends from its start to its end, without retries and
    renewals of the lease; of a run, what it sent. `amount` is the sum over the stores whose prices are known,
    in `currency`; None where none is. `max_cost` is the limit of the policy.
    """

    stores: tuple[Store, ...] = ()
    amount: float | None = None
    currency: str = ""
    max_cost: float | None = None
    savings: tuple[Saving, ...] = ()

    @classmethod
    def of(
        cls, stores: Iterable[Store], *, max_cost: float | None = None, savings: Iterable[Saving] = ()
    ) -> Price:
        """The price of these requests; stores that were asked nothing are left out.

        All tables of one run have one currency: that of the job, or of the tables in the package.
        """
        asked = tuple(store for store in add_up(stores) if store.requests)
        priced = [store for store in asked if store.prices is not None]
        amounts = [store.amount or 0.0 for store in priced]
        currency = priced[0].prices.currency if priced and priced[0].prices is not None else ""
        return cls(asked, math.fsum(amounts) if priced else None, currency, max_cost, tuple(savings))

    @property
    def requests(self) -> Requests:
        """Those to all stores but local files."""
        return sum((store.requests for store in self.stores if store.name != LOCAL), Requests())

    @property
    def unpriced(self) -> tuple[str, ...]:
        """The stores without any known price."""
        return tuple(store.name for store in self.stores if store.prices is None and store.name != LOCAL)


def add_up(stores: Iterable[Store]) -> list[Store]:
    """One store for each name and prices, in order of names."""
    found: dict[tuple[str, PriceTable | None], Requests] = {}
    for store in stores:
        key = (store.name, store.prices)
        found[key] = found.get(key, Requests()) + store.requests
    ordered = sorted(found.items(), key=lambda each: (each[0][0], repr(each[0][1])))
    return [Store(name, requests, prices) for (name, prices), requests in ordered]


def money(amount: float, currency: str = "USD") -> str:
    """`$5.00`, `5.00 EUR`, `under $0.01`."""
    cents = round(amount, 2)
    if 0 < amount < 0.005:
        return f"under {_money(0.01, currency)}"
    return _money(cents, currency)


def unit_price(price: float, currency: str, per: int) -> str:
    """`$0.0004/1,000`."""
    digits = f"{price:.10f}".rstrip("0").rstrip(".") or "0"
    shown = f"${digits}" if currency == "USD" else f"{digits} {currency}"
    return f"{shown}/{per:,}"


def _money(amount: float, currency: str) -> str:
    return f"${amount:,.2f}" if currency == "USD" else f"{amount:,.2f} {currency}"
