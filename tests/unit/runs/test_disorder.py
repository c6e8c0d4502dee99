"""A store that turns out to list in another order than that of bytes: listed again, and nothing is wrong."""

from __future__ import annotations

import dataclasses
import logging
import uuid
from pathlib import Path
from typing import Any

import pytest

from metaferry.job.model import Job
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.run import plan, sync
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import Adapter, Capabilities, Page


class FolderByFolder(MemoryAdapter):
    """Claims to list by bytes, and lists `a/0` before `a-b`; a few keys a page."""

    SIZE = 5

    @property
    def capabilities(self) -> Capabilities:
        return dataclasses.replace(super().capabilities, start_key=True)

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        entries = list(self._walk(prefix, ""))
        entries.sort(key=lambda entry: entry.path.split("/"))
        after = cursor if cursor is not None else start_after
        if after is not None:
            entries = [entry for entry in entries if entry.path.split("/") > after.split("/")]
        page = entries[: self.SIZE]
        return Page(page, page[-1].path if len(entries) > self.SIZE else None)


@pytest.mark.parametrize("apart", [False, True], ids=["one datasource", "two"])
def test_media_and_documents_are_listed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, apart: bool
) -> None:
    root = f"disorder-{uuid.uuid4()}"
    media = [f"{n:04d}.png" for n in range(60)] + [f"a/{n:04d}.png" for n in range(200)] + ["a-b.png"]
    store = FolderByFolder(root)
    for path in media:
        store.put_blocking(path, b"1")
    table = tmp_path / "t.csv"
    table.write_text("file_name,x\n" + "".join(f"{path},{n}\n" for n, path in enumerate(media)))
    settings: dict[str, Any] = {"input": f"memory://{root}", "sources": [{"table": str(table)}]}
    if apart:
        settings["lightly"] = f"memory://{root}-lightly"
    job = Job.from_mapping(settings)

    def wrap(adapter: Adapter) -> Adapter:
        return (
            FolderByFolder(adapter._base, url=adapter.url) if isinstance(adapter, MemoryAdapter) else adapter
        )

    world = RuntimeDeps(wrap=wrap)
    with caplog.at_level(logging.INFO):
        report = sync(job, deps=world)
    assert report.media.images == len(media)
    assert (report.documents.create, report.findings) == (len(media), {"schema.changed": 1})
    assert "listed again, in sequence" in caplog.text
    again = plan(job, deps=world)
    assert (again.documents.keep, again.changes) == (len(media), 0)
