"""The limit of the policy on what a run may cost. Pure."""

from __future__ import annotations

import math

from metaferry.planning.price.model import LOCAL, Price, PriceTable, Requests, money


def judge_cost(price: Price) -> tuple[str, str]:
    """Why a run of this price may not begin, and how to let it; two empty texts where it may.

    Where the price of puts is not known for a store that documents or state are written to, the limit cannot
    be judged, so the run may not begin either.
    """
    if price.max_cost is None:
        return "", ""
    unknown = [
        store.name
        for store in price.stores
        if store.name != LOCAL and store.requests.put and (store.prices is None or store.prices.put is None)
    ]
    if unknown:
        return (
            f"policy.max_cost is {price.max_cost:g}, and what a put to {unknown[0]} costs is not known",
            "give its prices: --set 'prices={put: 0.005, list: 0.005, get: 0.0004, delete: 0}', "
            "or take policy.max_cost away",
        )
    if price.amount is not None and price.amount > price.max_cost:
        # To the next cent, so that the advice does let it pass.
        enough = math.ceil(round(price.amount * 100, 6)) / 100
        return (
            f"its requests would cost about {money(price.amount, price.currency)}, "
            f"and policy.max_cost is {price.max_cost:g}",
            f"look at the price with `metaferry plan`, then let it pass: --set policy.max_cost={enough:.2f}",
        )
    return "", ""


def judge_asked(requests: Requests, prices: PriceTable, max_cost: float) -> tuple[str, str]:
    """Why no more facts of objects are asked for, and how to go on; two empty texts where more may be."""
    amount = prices.amount(requests)
    if amount <= max_cost:
        return "", ""
    number = requests.get + requests.tags
    return (
        f"{number:,} requests for metadata or tags of objects cost about {money(amount, prices.currency)}, "
        f"and policy.max_cost is {max_cost:g}",
        "the answers so far are kept: run again with a higher policy.max_cost, or leave headers and tags of "
        "the sources object: out",
    )
