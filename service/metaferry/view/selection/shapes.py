"""The keys of a selection config (v4) and what each may hold, as the API's own model has them. Pure.

Taken from the generated models of the package `lightly` 1.5.26 (`SelectionConfigV4` and what it refers to):
snake_case as the Python client writes them, camelCase as the API does. `tests/unit/view/selection` holds this
table to those models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

#: What is wrong with a value, in words; "" where nothing is.
Check: TypeAlias = Callable[[Any], str]

INPUTS: Final = ("EMBEDDINGS", "SCORES", "METADATA", "PREDICTIONS", "RANDOM")
STRATEGIES: Final = ("DIVERSITY", "WEIGHTS", "THRESHOLD", "BALANCE", "SIMILARITY", "TYPICALITY")
OPERATIONS: Final = ("SMALLER", "SMALLER_EQUAL", "BIGGER", "BIGGER_EQUAL")
DISTRIBUTIONS: Final = ("TARGET", "UNIFORM", "INPUT")
PREDICTIONS: Final = ("CLASS_DISTRIBUTION", "CATEGORY_COUNT")


@dataclass(frozen=True, slots=True)
class Key:
    """A key by its snake_case name: its camelCase name where that differs, and the check of its value."""

    check: Check
    alias: str = ""
    required: bool = False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(least: float = -math.inf, most: float = math.inf, *, above: bool = False) -> Check:
    """A finite number from `least` (or `above` it) to `most`."""

    def check(value: Any) -> str:
        if not _is_number(value) or not math.isfinite(value):
            return "should be a number"
        if value < least or value > most or (above and value == least):
            low = "above" if above else "from"
            high = f" to {most:,g}" if most < math.inf else ""
            return f"should be {low} {least:,g}{high}"
        return ""

    return check


def whole(least: int | None = None) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, int) or isinstance(value, bool):
            return "should be a whole number"
        return "" if least is None or value >= least else f"should be at least {least}"

    return check


def text(pattern: str = "", *, least: int = 0) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            return "should be text"
        if len(value) < least:
            return "should not be empty" if least == 1 else f"should have at least {least} characters"
        return (
            "" if not pattern or re.fullmatch(pattern, value) else "has characters that are not allowed here"
        )

    return check


def choice(*words: str) -> Check:
    def check(value: Any) -> str:
        return "" if value in words and isinstance(value, str) else f"should be one of {', '.join(words)}"

    return check


def names(value: Any) -> str:
    """A list of different texts."""
    if not isinstance(value, list) or not value:
        return "should be a list of names"
    if not all(isinstance(each, str) and each for each in value):
        return "should be a list of names"
    return "" if len(set(value)) == len(value) else "has a name twice"


def mapping(value: Any) -> str:
    return "" if isinstance(value, dict) else "should be a mapping"


def listing(value: Any) -> str:
    return "" if isinstance(value, list) else "should be a list"


def shares(value: Any) -> str:
    """The target of BALANCE: shares by name. The model takes any value; a share is a number from 0 to 1."""
    if not isinstance(value, dict) or not value:
        return "should be a mapping of names to shares"
    for name, share in value.items():
        if number(0, 1)(share):
            return f"the share of {name!r} should be a number from 0 to 1"
    return ""


_WORDS: Final = r"[a-zA-Z0-9_+=,.@:/-]*"

CONFIG: Final[Mapping[str, Key]] = {
    "n_samples": Key(whole(-1), "nSamples"),
    "proportion_samples": Key(number(0, 1), "proportionSamples"),
    "strategies": Key(listing, required=True),
    "lightly_path_regex": Key(text(least=1), "lightlyPathRegex"),
    # What is in it makes predictions, which are not judged here.
    "auto_tasks": Key(listing, "autoTasks"),
}
ENTRY: Final[Mapping[str, Key]] = {
    "input": Key(mapping, required=True),
    "strategy": Key(mapping, required=True),
}
INPUT: Final[Mapping[str, Key]] = {
    "type": Key(choice(*INPUTS), required=True),
    "task": Key(text(_WORDS)),
    "score": Key(text(_WORDS, least=1)),
    "key": Key(text(least=1)),
    "name": Key(choice(*PREDICTIONS)),
    "dataset_id": Key(text("[a-f0-9]{24}"), "datasetId"),
    "tag_name": Key(text("[a-zA-Z0-9][a-zA-Z0-9 .:;=@_-]+", least=3), "tagName"),
    "random_seed": Key(whole(), "randomSeed"),
    "categories": Key(names),
}
STRATEGY: Final[Mapping[str, Key]] = {
    "type": Key(choice(*STRATEGIES), required=True),
    "stopping_condition_minimum_distance": Key(number()),
    "threshold": Key(number()),
    "operation": Key(choice(*OPERATIONS)),
    "target": Key(shares),
    "num_nearest_neighbors": Key(whole(2), "numNearestNeighbors"),
    "stopping_condition_minimum_typicality": Key(number(0, above=True), "stoppingConditionMinimumTypicality"),
    "strength": Key(number(-1e9, 1e9)),
    "stopping_condition_max_sum": Key(number(0), "stoppingConditionMaxSum"),
    "target_range": Key(mapping, "targetRange"),
    "distribution": Key(choice(*DISTRIBUTIONS)),
}
RANGE: Final[Mapping[str, Key]] = {
    "min_sum": Key(number(0), "minSum"),
    "max_sum": Key(number(0), "maxSum"),
}
