"""The truth table of actions, mirrored row by row, and its SQL twin."""

from __future__ import annotations

import itertools

import duckdb
import pytest

from metaferry.planning.actions import Facts, action_sql, decide
from metaferry.planning.formats import Action

NAMES = ("wanted", "exists", "equal", "stale", "replaced", "orphan", "delete_orphans")


@pytest.mark.parametrize(
    ("facts", "action"),
    [
        (Facts(wanted=True, exists=False), Action.CREATE),
        (Facts(wanted=True, exists=True, equal=True), Action.KEEP),
        (Facts(wanted=True, exists=True, equal=False), Action.UPDATE),
        (Facts(wanted=False, exists=True, stale=True, replaced=True), Action.DELETE),
        (Facts(wanted=False, exists=True, stale=True, replaced=True, delete_orphans=True), Action.DELETE),
        (Facts(wanted=False, exists=True, stale=True, orphan=True, delete_orphans=True), Action.DELETE),
        (Facts(wanted=False, exists=True, stale=True, orphan=True, delete_orphans=False), Action.SKIP),
        (Facts(wanted=False, exists=True, stale=True, orphan=False, delete_orphans=True), Action.SKIP),
        (Facts(wanted=False, exists=True, stale=True, orphan=False, delete_orphans=False), Action.SKIP),
        (Facts(wanted=False, exists=True, orphan=True, delete_orphans=True), Action.DELETE),
        (Facts(wanted=False, exists=True, orphan=True, delete_orphans=False), Action.SKIP),
        (Facts(wanted=False, exists=True, orphan=False, delete_orphans=True), Action.SKIP),
        (Facts(wanted=False, exists=True, orphan=False, delete_orphans=False), Action.SKIP),
    ],
)
def test_each_row(facts: Facts, action: Action) -> None:
    assert decide(facts) is action


def test_a_document_neither_wanted_nor_there_is_no_question() -> None:
    with pytest.raises(ValueError, match="nothing to decide"):
        decide(Facts(wanted=False, exists=False))


def test_a_wanted_document_is_never_deleted_or_left() -> None:
    for values in itertools.product((False, True), repeat=6):
        assert decide(Facts(True, *values)) in {Action.CREATE, Action.KEEP, Action.UPDATE}


def test_nothing_but_orphans_and_stale_names_that_are_replaced_is_deleted() -> None:
    for values in itertools.product((False, True), repeat=5):
        facts = Facts(False, True, *values)
        if decide(facts) is Action.DELETE:
            assert (facts.stale and facts.replaced) or (facts.orphan and facts.delete_orphans)
        else:
            assert not (facts.stale and facts.replaced)


def test_sql_decides_as_python_does() -> None:
    with duckdb.connect() as connection:
        for values in itertools.product((False, True), repeat=len(NAMES)):
            facts = Facts(*values)
            if not facts.wanted and not facts.exists:
                continue
            columns = {name: str(value).lower() for name, value in zip(NAMES, values, strict=True)}
            rows = connection.execute(f"SELECT {action_sql(columns)}").fetchall()
            assert rows == [(decide(facts),)]
