"""A 403 that may be one document's or everybody's: decided by what becomes of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metaferry.apply.refusals import FEW, MANY
from metaferry.errors import Denied, Protected, StorageError
from metaferry.planning.formats import Outcome
from metaferry.storage.errors import Failure, storage_error
from unit.apply.test_apply import Looped, Run, Store, creates, write_plan

LANES = pytest.mark.parametrize("lane", [Store, Looped])


def refusal(path: str, code: str = "AccessDenied") -> StorageError:
    return storage_error(Failure(403, code), store="s3", url="s3://b", operation="put", path=path)


def refusing(*, every: int = 0, below: int = 0, after: int = 0, code: str = "AccessDenied") -> Any:
    """Refuses every n-th document, or those with a number below, or all after so many calls."""

    def before(path: str, call: int) -> None:
        number = int(path[4:10])
        if (every and number % every == 0) or number < below or (after and call > after):
            raise refusal(path, code)

    return before


@LANES
@pytest.mark.parametrize("denied", [{"every": 7}, {"below": 300}, {"below": 1}])
def test_a_refusal_is_the_documents_own_while_others_are_written(
    tmp_path: Path, lane: type[Store], denied: dict[str, int]
) -> None:
    """Also where the documents that are refused come first, as those of one folder do."""
    run = Run(lane(refusing(**denied)))
    tally = run(write_plan(tmp_path, creates(1400), shards=1))
    failed = {row.target for row in run.rows if row.outcome is Outcome.REFUSED}
    refused = [n for n in range(1400) if (n % 7 == 0 if "every" in denied else n < denied["below"])]
    assert failed == {f"doc-{n:06d}.json" for n in refused}
    assert (tally.create, tally.failed) == (1400 - len(refused), len(refused))
    assert len(run.rows) == len({row.target for row in run.rows}) == run.advanced == 1400
    assert "access denied (403 AccessDenied)" in tally.failures[0].message
    assert "s3:PutObject" in tally.failures[0].advice
    assert run.store.calls == 1400, "nothing is tried twice"


@LANES
@pytest.mark.parametrize("count", [1, 5, FEW, 3000])
def test_where_none_is_written_it_is_a_missing_right(tmp_path: Path, lane: type[Store], count: int) -> None:
    run = Run(lane(refusing(every=1)))
    with pytest.raises(Denied) as caught:
        run(write_plan(tmp_path, creates(count), shards=1))
    assert caught.value.advice.startswith("the credentials need s3:PutObject")
    assert run.store.calls == min(count, FEW), "after a few documents"
    assert run.rows == []


@LANES
def test_a_right_that_is_lost_ends_the_run_though_its_words_are_the_same(
    tmp_path: Path, lane: type[Store]
) -> None:
    run = Run(lane(refusing(after=100)))
    with pytest.raises(Denied):
        run(write_plan(tmp_path, creates(5000)))
    assert MANY <= run.store.calls - 100 < 2 * MANY + 1000
    assert len(run.rows) == len(run.in_place()) == 100


@LANES
def test_unknown_credentials_end_the_run_with_the_first_document(tmp_path: Path, lane: type[Store]) -> None:
    run = Run(lane(refusing(every=1, code="InvalidAccessKeyId")))
    with pytest.raises(Denied):
        run(write_plan(tmp_path, creates(500)))
    assert run.store.calls == 1


@LANES
def test_a_protected_document_stops_no_other_even_where_it_is_the_only_one(
    tmp_path: Path, lane: type[Store]
) -> None:
    def before(path: str, call: int) -> None:
        raise Protected("held", path=path, advice="release it")

    run = Run(lane(before))
    tally = run(write_plan(tmp_path, creates(3), shards=1))
    assert (tally.create, tally.failed) == (0, 3)
    assert {(row.message, row.advice) for row in run.rows} == {("held", "release it")}


def test_deletes_are_decided_by_themselves(tmp_path: Path) -> None:
    """Puts that go well say nothing about the right to delete."""

    class Undeletable(Store):
        async def delete(self, path: str, **condition: Any) -> None:
            raise storage_error(
                Failure(403, "AccessDenied"), store="s3", url="s3://b", operation="delete", path=path
            )

    run = Run(Undeletable())
    rows: list[Any] = [*creates(50), ("gone.json", "delete", None, "token")]
    with pytest.raises(Denied) as caught:
        run(write_plan(tmp_path, rows))
    assert "s3:DeleteObject" in caught.value.advice
    assert run.tally.create == 50
