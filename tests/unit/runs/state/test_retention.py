"""Which files of past runs go: by whether they wrote, and by age."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from metaferry.runs.state.retention import REPORTS_STAY, UNCHANGED, expired

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
FILES = ("findings.parquet", "run.json")


def run_at(age: timedelta) -> str:
    return f"{NOW - age:%Y%m%dT%H%M%SZ}-0a1b2c3d"


def kept(
    wrote: Iterable[str], unchanged: Iterable[str], *, keep: int = 3, this_wrote: bool = True
) -> dict[str, set[str]]:
    """The files that stay, by run."""
    wrote, unchanged, this = list(wrote), list(unchanged), run_at(timedelta())
    files = [(run, name) for run in (*wrote, *unchanged, this) for name in FILES]
    files += [(run, "started.json") for run in wrote]
    begun = [*wrote, *([this] if this_wrote else [])]
    gone = set(expired(files, begun, this=this, this_wrote=this_wrote, keep=keep, now=NOW))
    found: dict[str, set[str]] = {}
    for run, name in files:
        if (run, name) not in gone:
            found.setdefault(run, set()).add(name)
    assert found.pop(this) == set(FILES)
    return found


def test_a_day_without_changes_pushes_out_no_run_that_wrote() -> None:
    wrote = [run_at(timedelta(days=2, hours=hours)) for hours in range(3)]
    unchanged = [run_at(timedelta(minutes=15 * n)) for n in range(1, 150)]
    found = kept(wrote, unchanged, this_wrote=False)
    assert {run for run, names in found.items() if "started.json" in names} == set(wrote)
    assert sorted(found.keys() & unchanged) == sorted(unchanged)[-(UNCHANGED - 1) :]


def test_of_older_runs_that_wrote_the_report_stays_for_a_month() -> None:
    wrote = [run_at(timedelta(days=days)) for days in range(1, 40)]
    found = kept(wrote, [], keep=3)
    whole = {*FILES, "started.json"}
    assert [found[run] for run in wrote[:2]] == [whole, whole], "with the one that ends now these are three"
    assert all(found[run] == {"run.json"} for run in wrote[2:29])
    assert not found.keys() & set(wrote[REPORTS_STAY.days - 1 :])


def test_the_run_that_ends_counts_where_it_belongs() -> None:
    wrote = [run_at(timedelta(days=100 + n)) for n in range(5)]
    assert len(kept(wrote, [], keep=3, this_wrote=True)) == 2
    assert len(kept(wrote, [], keep=3, this_wrote=False)) == 3
    assert kept(wrote, [], keep=1, this_wrote=True) == {}


def test_a_plan_stays_until_its_run_goes_or_for_a_month_if_nobody_applies_it() -> None:
    applied, waiting, old = (run_at(timedelta(days=days)) for days in (2, 3, 31))
    newer = [run_at(timedelta(days=1, minutes=n)) for n in range(3)]
    unchanged = [run_at(timedelta(minutes=15 * n)) for n in range(1, 40)]
    files = [(run, name) for run in (applied, waiting, old) for name in ("plan/plan.json", "plan/x.parquet")]
    files += [(run, "run.json") for run in (applied, *newer, *unchanged)]
    begun = [applied, *newer]

    def gone(keep: int) -> set[tuple[str, str]]:
        return set(expired(files, begun, this=run_at(timedelta()), this_wrote=False, keep=keep, now=NOW))

    assert {run for run, name in gone(4) if name != "run.json"} == {old}
    assert {run for run, name in gone(3) if name != "run.json"} == {old, applied}
    assert sum(run in unchanged for run, _ in gone(4)) == 40 - UNCHANGED, "plans do not count as runs"


def test_a_folder_of_another_name_counts_as_old() -> None:
    assert kept(["what-is-this", run_at(timedelta(days=1))], ["somebody-s"], keep=1) == {
        run_at(timedelta(days=1)): {"run.json"},
        "somebody-s": set(FILES),
    }
