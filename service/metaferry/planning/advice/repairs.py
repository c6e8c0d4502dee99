"""How names of other systems become paths: blanks taken off, `%20` decoded, `\\` made `/`.

A repair is SQL around an expression, the same in the job's file_name and in the engine that tries it. Pure;
what is tried is only ever advice, nothing is matched by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Final


@dataclass(frozen=True, slots=True)
class Repair:
    """What is said of a name, the SQL that mends it (`{x}`: the name), and that which finds such names."""

    says: str
    sql: str
    applies: str


#: In the order in which they are applied: blanks may stand around what is encoded, and that hold a backslash.
STEPS: Final = (
    Repair(
        "has blanks around it",
        r"regexp_replace({x}, '^\s+|\s+$', '', 'g')",
        r"regexp_matches({x}, '^\s|\s$')",
    ),
    Repair("is URL-encoded", "url_decode({x})", r"regexp_matches({x}, '%[0-9A-Fa-f]{2}')"),
    Repair("is a path of Windows", r"replace({x}, '\', '/')", r"contains({x}, '\')"),
)


def combined(steps: Iterable[Repair]) -> list[tuple[Repair, ...]]:
    """All ways to apply some of the steps, each in its place; those of the fewest first, also of none."""
    known = tuple(steps)
    return [some for count in range(len(known) + 1) for some in combinations(known, count)]


def applied(steps: Iterable[Repair], expression: str) -> str:
    """The SQL that mends what an expression gives."""
    for step in steps:
        expression = step.sql.replace("{x}", expression)
    return expression


def attempted(steps: Iterable[Repair], expression: str) -> str:
    """The same in the engine, null where a step fails: `%FF` is no text."""
    return f"try({applied(steps, expression)})"


def said(steps: Iterable[Repair]) -> str:
    """What is wrong with a name, in words; "" for nothing."""
    return " and ".join(step.says for step in steps)
