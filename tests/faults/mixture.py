"""Weather drawn from a seed: several faults at once, now and then one that ends a run."""

from __future__ import annotations

import random

from metaferry.storage.errors import Failure
from metaferry.storage.testing.rules import (
    CORRUPTED,
    DELETES,
    DENIED,
    EVERY,
    EXPIRED,
    LISTS,
    LOST_REPLY,
    NO_SPACE,
    PUTS,
    READS,
    RESET,
    SLOW_DOWN,
    TOO_MANY,
    TRUNCATED,
    UNAVAILABLE,
    Delay,
    Fault,
    Refusal,
    Rule,
    storm,
)

#: Credentials that no renewal makes good.
FOR_EVER = Refusal(Failure(400, "ExpiredToken"))


def mixture(seed: int) -> list[Rule]:
    """Some rules, each of which strikes now and then; a few of them end the run."""
    draw = random.Random(seed)
    passing: list[Fault] = [
        RESET,
        LOST_REPLY,
        SLOW_DOWN,
        TOO_MANY,
        UNAVAILABLE,
        TRUNCATED,
        CORRUPTED,
        Delay(3.0),
        EXPIRED,
    ]
    rules = [
        Rule(
            fault=fault,
            operations=draw.choice([EVERY, PUTS, READS, LISTS | READS]),
            chance=draw.choice([0.05, 0.2, 0.5]),
            after=draw.randrange(10),
        )
        for fault in draw.sample(passing, 4)
    ]
    if draw.random() < 0.5:
        ending = draw.choice([DENIED, NO_SPACE, FOR_EVER])
        rules.append(Rule(fault=ending, operations=PUTS | DELETES, chance=0.1, after=draw.randrange(20)))
    if draw.random() < 0.5:
        rules += storm(draw.uniform(1, 30), retry_after=draw.choice([None, 2.0]))
    draw.shuffle(rules)
    return rules
