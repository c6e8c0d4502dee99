"""What runs and plans report, as tables of a page."""

from __future__ import annotations

from metaferry.planning.formats import Report, RunReport
from metaferry.planning.price.model import LOCAL, Price, PriceTable, money
from metaferry.view.report.facts import Panel
from metaferry.view.selection.result import Selection

_DONE = {
    "create": ("created", "new"),
    "update": ("updated", "changed, or not known to be the same"),
    "keep": ("kept", "unchanged"),
    "delete": ("deleted", "orphaned, or replaced under another name"),
    "skip": ("skipped", "in place, and not touched"),
    "failed": ("failed", "could not be written"),
    "conflict": ("conflicts", "changed by others meanwhile"),
    "deferred": ("deferred", "left for a later run"),
}


def plan_panels(report: Report) -> tuple[Panel, ...]:
    """The documents and the price of a run or a plan, as far as there is something to show."""
    return tuple(panel for panel in (documents_panel(report), price_panel(report.price)) if panel)


def documents_panel(report: Report) -> Panel:
    """What became of each document in a run; of a plan, what a sync would do: the drift."""
    done = isinstance(report, RunReport)
    rows = []
    for name, (in_a_run, meaning) in _DONE.items():
        number = getattr(report.documents, name)
        if number or name in ("create", "update", "keep"):
            rows.append((in_a_run if done else name, number, meaning))
    columns = ("documents", "number", "why")
    if done:
        return Panel("What this sync did", columns, tuple(rows))
    return Panel(
        "Drift",
        columns,
        tuple(rows),
        "What a sync would do now: the tables of the job against the documents in place, as `plan` has it.",
    )


def price_panel(price: Price) -> Panel | None:
    """The requests of a run by store and kind, with their price where it is known; None for local files."""
    stores = [store for store in price.stores if store.name != LOCAL]
    rows: list[tuple[str | int, ...]] = []
    for store in stores:
        for kind, number in store.requests:
            if number:
                rows.append((store.name, kind, number, _amount(store.prices, kind, number)))
    if not rows:
        return None
    tables = sorted({(each.prices.name, each.prices.as_of) for each in stores if each.prices is not None})
    note = "".join(f"{name}{f', list prices as of {as_of}' if as_of else ''}. " for name, as_of in tables)
    total = "" if price.amount is None else f"In all {money(price.amount, price.currency)}."
    return Panel("Price", ("store", "requests", "number", "price"), tuple(rows), note + total)


def selection_panel(found: Selection) -> Panel:
    """What a selection config can have of the tree: a row for each strategy."""
    rows = []
    for each in found.strategies:
        what = f"{each.type} of {each.input}{f' {each.key}' if each.key else ''}"
        said = [*each.reasons, *each.notes]
        if each.passing is not None:
            said.insert(0, f"{each.passing:,} samples pass it")
        rows.append((what, str(each.verdict), "; ".join(said)))
    asked = "" if found.wanted is None else f" {found.wanted:,.10g} are asked for."
    whole = [reason for reason in found.reasons if not reason.startswith("strategies[")]
    note = (
        f"{found.samples:,} samples, of which {found.passing:,} pass all thresholds on metadata.{asked} "
        f"On the whole: {found.verdict}. {''.join(f'{text}. ' for text in (*whole, *found.notes))}"
        "Nothing is said of what a selection picks."
    )
    return Panel("Selection", ("strategy", "verdict", "why"), tuple(rows), note)


def _amount(prices: PriceTable | None, kind: str, number: int) -> str:
    unit: float | None = None if prices is None else getattr(prices, kind)
    if prices is None or unit is None:
        return "not known"
    return money(number / prices.per * unit, prices.currency)
