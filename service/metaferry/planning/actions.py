"""The decision: the action of one document, as a truth table.

The table is data. Python reads it (`decide`), SQL is generated from it (`action_sql`), and the
test mirrors it row by row and checks both against each other on every combination of facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from metaferry.planning.formats import Action


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one document when the decision is taken.

    wanted: the records ask for it. exists: it is in the listing. equal: its content is proved to
    be the planned bytes. stale: it is named like a frame of a planned video, but with the digits
    of another encoding. replaced: the document of that frame under the right digits is written by
    this plan, or is in place and stays. orphan: its media or its records are gone, and this job may
    say so (its media is not excluded, none of its rows was rejected). delete_orphans:
    the policy.
    """

    wanted: bool
    exists: bool
    equal: bool = False
    stale: bool = False
    replaced: bool = False
    orphan: bool = False
    delete_orphans: bool = False


#: (wanted, exists, equal, stale, replaced, orphan, delete_orphans) -> action; None matches both. The
#: first row that matches decides. A document neither wanted nor in place cannot occur.
TABLE: Final[tuple[tuple[tuple[bool | None, ...], Action], ...]] = (
    ((True, False, None, None, None, None, None), Action.CREATE),
    ((True, True, True, None, None, None, None), Action.KEEP),
    ((True, True, False, None, None, None, None), Action.UPDATE),
    # A stale name is one half of a rename if the other half exists. Else it is the only document of its
    # frame, and is deleted like any document whose records are gone.
    ((False, True, None, True, True, None, None), Action.DELETE),
    ((False, True, None, None, None, True, True), Action.DELETE),
    ((False, True, None, None, None, True, False), Action.SKIP),
    ((False, True, None, None, None, False, None), Action.SKIP),
)

_FACTS: Final = ("wanted", "exists", "equal", "stale", "replaced", "orphan", "delete_orphans")


def decide(facts: Facts) -> Action:
    """The action for one document. ValueError for a document neither wanted nor there."""
    values = tuple(getattr(facts, name) for name in _FACTS)
    for pattern, action in TABLE:
        if all(want is None or want == have for want, have in zip(pattern, values, strict=True)):
            return action
    raise ValueError(f"nothing to decide: {facts}")


def action_sql(columns: dict[str, str]) -> str:
    """The same table as a CASE expression; `columns` maps each fact to a BOOLEAN SQL expression."""
    cases = []
    for pattern, action in TABLE:
        terms = [
            columns[name] if want else f"NOT {columns[name]}"
            for name, want in zip(_FACTS, pattern, strict=True)
            if want is not None
        ]
        cases.append(f"WHEN {' AND '.join(terms)} THEN '{action}'")
    return f"CASE {' '.join(cases)} END"
