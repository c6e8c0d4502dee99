"""The price of a plan or a run as lines: requests by kind, and money where prices are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from rich.text import Text

from metaferry.cli.show.text import columns, count, safe
from metaferry.planning.price.model import LOCAL, Price, PriceTable, Store, money, unit_price

Line: TypeAlias = str | Text

_WORDS: Final = {"put": "put", "list": "list", "get": "get", "delete": "delete", "tags": "tag request"}
_INDENT: Final = 9
#: A price below which one line has it all.
_CENT: Final = 0.01


def price_lines(price: Price, *, planned: bool) -> Iterator[Line]:
    """What `plan` and `sync` show: `planned` is the estimate of a sync, else what a run sent."""
    stores = [store for store in price.stores if store.name != LOCAL]
    label = Text("Price    ", style="bold")
    if not stores:
        return
    several = len(stores) > 1
    for store in stores:
        if several:
            yield Text.assemble(label, safe(store.name))
            label = Text(" " * _INDENT)
        lines = _store_lines(store, planned=planned)
        yield Text.assemble(label, lines[0])
        label = Text(" " * _INDENT)
        yield from (f"{' ' * _INDENT}{line}" for line in lines[1:])
    if several and price.amount is not None and sum(store.prices is not None for store in stores) > 1:
        yield f"{' ' * _INDENT}{_about(stores)}{money(price.amount, price.currency)} in all"
    if price.max_cost is not None:
        yield f"{' ' * _INDENT}policy.max_cost is {price.max_cost:g}"
    for saving in price.savings:
        saved = f" = {money(saving.amount, price.currency)}" if saving.amount is not None else ""
        yield f"{' ' * _INDENT}{saving.what} would save {_requests(dict(saving.requests))}{saved}"
    yield ""


def _store_lines(store: Store, *, planned: bool) -> list[str]:
    """The requests to one store; the first line has no indent."""
    numbers = {kind: number for kind, number in store.requests if number}
    note = "retries and renewals of the lease not counted" if planned else "each attempt counted"
    table = store.prices
    if table is None:
        return [
            _requests(numbers),
            f"what they cost is not known for {safe(store.name)}: `prices:` in the job says it; {note}",
        ]
    amount = store.amount or 0.0
    unknown = table.unknown(store.requests)
    most = f", without {_listed(unknown)}, whose price is not known" if unknown else ""
    as_of = f", list prices as of {table.as_of}" if table.as_of else ""
    about = "" if table.sure or not amount else "about "
    total = f"{about}{money(amount, table.currency)}{most} ({safe(table.name)}{as_of}; {note})"
    if amount < _CENT:
        return [f"{_requests(numbers)}: {total}"]
    rows = [_row(kind, number, table) for kind, number in numbers.items()]
    return [*(line.removeprefix("  ") for line in columns(rows, right=(0,))), total]


def _row(kind: str, number: int, table: PriceTable) -> list[str]:
    price: float | None = getattr(table, kind)
    word = _WORDS[kind] if number == 1 else f"{_WORDS[kind]}s"
    if price is None:
        return [f"{number:,}", word, "price not known", ""]
    if price == 0:
        return [f"{number:,}", word, "free", ""]
    about = "" if table.sure else "about "
    unit = unit_price(price, table.currency, table.per)
    return [f"{number:,}", word, f"× {about}{unit}", f"= {money(number / table.per * price, table.currency)}"]


def _requests(numbers: dict[str, int]) -> str:
    """`1,247 puts, 4 lists, 1 delete`."""
    return ", ".join(count(number, _WORDS[kind]) for kind, number in numbers.items() if number)


def _listed(kinds: Sequence[str]) -> str:
    return " and ".join(f"{_WORDS[kind]}s" for kind in kinds)


def _about(stores: Sequence[Store]) -> str:
    return "" if all(store.prices is None or store.prices.sure for store in stores) else "about "
