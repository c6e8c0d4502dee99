"""What the log of a task says."""

from __future__ import annotations

import pytest

from metaferry.airflow.task_log import in_airflow, whole_number
from metaferry.errors import UsageError


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("let them pass: --set policy.max_rejects=1", "let them pass: overrides=['policy.max_rejects=1']"),
        (
            "to go on: --set policy.min_used=0%, or mend",
            "to go on: overrides=['policy.min_used=0%'], or mend",
        ),
        ("`--set backup=null` replaces it", "`overrides=['backup=null']` replaces it"),
        (
            "--set 'prices={put: 0.005, list: 0.005}', or",
            "overrides=['prices={put: 0.005, list: 0.005}'], or",
        ),
        ("  --set policy.nope: unknown key", "  overrides=['policy.nope']: unknown key"),
        ("pass: --set policy.max_cost=5.02.", "pass: overrides=['policy.max_cost=5.02']."),
        ("nothing --settled", "nothing --settled"),
    ],
)
def test_flags_become_arguments(said: str, shown: str) -> None:
    assert in_airflow(said) == shown


@pytest.mark.parametrize(
    ("given", "number"), [(None, None), ("", None), ("None", None), (3, 3), ("3", 3), (" 3 ", 3)]
)
def test_numbers(given: object, number: int | None) -> None:
    assert whole_number("limit", given) == number


@pytest.mark.parametrize("given", [0, -1, True, 1.5, "1.5", "many", "\u0663", [3], 9])
def test_what_is_no_number_is_refused(given: object) -> None:
    with pytest.raises(UsageError, match="limit should be a whole number from 1 to 8"):
        whole_number("limit", given, most=8)
