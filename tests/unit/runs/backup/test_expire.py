"""Which backups are too old, and which run looks for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from metaferry.runs.backup.expire import is_due, too_old

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
THIS = "20261130T120000Z-00000aaa"


def test_a_backup_goes_when_it_is_older_than_it_is_kept() -> None:
    runs = ["20261031T115959Z-1", "20261031T120000Z-2", "20261129T000000Z-3", THIS]
    assert list(too_old(runs, this=THIS, keep=timedelta(days=30), now=NOW)) == ["20261031T115959Z-1"]


def test_the_backup_of_the_run_that_ends_stays_however_long_it_took() -> None:
    started = "20261001T000000Z-1"
    assert not list(too_old([started], this=started, keep=timedelta(hours=1), now=NOW))


@pytest.mark.parametrize(
    ("earlier", "wrote", "due"),
    [
        (["20261130T114500Z-1"], False, False),
        (["20261130T114500Z-1"], True, True),
        (["20261129T234500Z-1"], False, True),
        (["20261129T234500Z-1", "20261130T000000Z-2"], False, False),
        ([], False, True),
    ],
)
def test_a_run_without_changes_looks_once_a_day(earlier: list[str], wrote: bool, due: bool) -> None:
    assert is_due(THIS, earlier, wrote=wrote) is due
