"""The state folder: what is read and deleted side by side, and what a local one leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from metaferry.runs.state.folder import RunHistory, State
from metaferry.storage.io.portal import Portal
from metaferry.storage.local.adapter import LocalAdapter
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import Blob, Precondition
from metaferry.storage.retry.storage import Retrying


class Counting(MemoryAdapter):
    """Memory that knows how many requests were under way at once."""

    def __init__(self) -> None:
        super().__init__("state-under-test")
        self.now = self.most = 0

    async def _turn(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(20):
            await asyncio.sleep(0)
        self.now -= 1

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        await self._turn()
        return await super().read(path, start, end, version=version)

    async def delete(self, path: str, *, only_if: Precondition | None = None) -> None:  # type: ignore[override]
        await self._turn()
        await super().delete(path)


@pytest.fixture
def counting(portal: Portal) -> Iterator[tuple[Counting, State]]:
    adapter = Counting()
    yield adapter, State(Retrying(adapter), portal, concurrency=6)
    adapter._fs.store.clear()


def test_old_runs_are_deleted_with_the_runs_concurrency(counting: tuple[Counting, State]) -> None:
    adapter, state = counting
    for run in range(30):
        for name in ("started.json", "run.json", "rejects.parquet"):
            state.write(state.run_key(f"run-{run:02}", name), b"{}")
    history = state.history()
    state.forget_old_runs(history, "run-30", keep=4, now=datetime.now(UTC))
    assert adapter.most == 6
    assert state.history().run_ids == tuple(f"run-{run:02}" for run in range(26, 30))


def test_markers_are_read_with_the_runs_concurrency(counting: tuple[Counting, State]) -> None:
    adapter, state = counting
    keys = [state.marker_key("plan", shard) for shard in range(50)]
    for key in keys[:40]:
        state.write(key, key.encode())
    assert state.read_all(keys) == {key: key.encode() for key in keys[:40]}
    assert adapter.most == 6


def test_empty_folders_of_a_local_state_go_with_their_run(tmp_path: Path, portal: Portal) -> None:
    adapter = LocalAdapter(tmp_path)
    state = State(Retrying(adapter), portal)
    for run in ("a", "b", "c"):
        state.write(state.report_key(run), b"{}")
        state.write(state.run_key(run, "plan/shard=000/x.parquet"), b"")
    (tmp_path / "runs/b/plan/somebody.txt").write_text("else's")
    history = state.history()
    begun = RunHistory(history.run_ids, False, history.files, history.run_ids)
    state.forget_old_runs(begun, "d", keep=0, now=datetime.now(UTC))
    state.write(state.report_key("d"), b"{}")
    state.write(state.run_key("d", "plan/shard=000/x.parquet"), b"")
    state.forget_parts("d", plan=True)
    portal.run(adapter.close())
    # Nothing of a, c and the plan of d; what somebody put there goes as a file of the run.
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "runs",
        "runs/d",
        "runs/d/run.json",
    ]
