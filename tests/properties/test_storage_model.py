"""Any sequence of puts, deletes, reads and listings: a store is a sorted dictionary with versions."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from metaferry.errors import Changed, Conflict, NotFound
from metaferry.storage.factory import open_adapter
from metaferry.storage.fsspec_adapter import FsspecAdapter
from metaferry.storage.protocol import ABSENT, Adapter, Entry

#: Names that sort around `/`, and around each other's folders.
SEGMENTS = st.sampled_from(["a", "a-", "a.b", "a0", "b", "é", "日", " ", "~", "z\u0301", "😀"])
#: A leaf has an extension that no folder has, since a file system cannot hold both.
KEYS = st.builds(
    lambda folders, leaf: "/".join([*folders, leaf + ".json"]), st.lists(SEGMENTS, max_size=2), SEGMENTS
)
DATA = st.binary(max_size=20)


class StoreMachine(RuleBasedStateMachine):
    """The model is `self.model`: key to (bytes, token)."""

    def make(self) -> Adapter:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model: dict[str, tuple[bytes, str]] = {}
        self.old: list[tuple[str, str]] = []
        self.adapter = self.make()
        self.put("first.json", b"")

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def expect_conflict(self, work: Any) -> None:
        try:
            self.run(work)
        except Conflict:
            return
        raise AssertionError("no conflict was seen")

    def wrote(self, key: str, data: bytes, token: str) -> None:
        if key in self.model and self.model[key][1] != token:
            self.old.append((key, self.model[key][1]))
        self.model[key] = (data, token)

    @rule(key=KEYS, data=DATA)
    def put(self, key: str, data: bytes) -> None:
        self.wrote(key, data, self.run(self.adapter.put(key, data)).token)

    @rule(key=KEYS, data=DATA)
    def create(self, key: str, data: bytes) -> None:
        work = self.adapter.put(key, data, only_if=ABSENT)
        if key in self.model:
            self.expect_conflict(work)
        else:
            self.wrote(key, data, self.run(work).token)

    @rule(picked=st.data(), data=DATA)
    def replace(self, picked: Any, data: bytes) -> None:
        if self.model:
            key = picked.draw(st.sampled_from(sorted(self.model)))
            token = self.model[key][1]
            self.wrote(key, data, self.run(self.adapter.put(key, data, only_if=token)).token)

    @rule(picked=st.data(), data=DATA)
    def replace_what_was_replaced(self, picked: Any, data: bytes) -> None:
        stale = [pair for pair in self.old if self.model.get(pair[0], (b"", ""))[1] != pair[1]]
        if stale:
            key, token = picked.draw(st.sampled_from(stale))
            self.expect_conflict(self.adapter.put(key, data, only_if=token))

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.run(self.adapter.delete(key))
        if key in self.model:
            self.old.append((key, self.model.pop(key)[1]))

    @rule(key=KEYS, start=st.integers(0, 25), length=st.none() | st.integers(0, 25))
    def read(self, key: str, start: int, length: int | None) -> None:
        end = None if length is None else start + length
        try:
            blob = self.run(self.adapter.read(key, start, end))
        except NotFound:
            assert key not in self.model
            return
        data, token = self.model[key]
        assert (blob.data, blob.token, blob.size) == (data[start:end], token, len(data))

    @rule(picked=st.data())
    def read_what_was_replaced(self, picked: Any) -> None:
        if self.old:
            key, token = picked.draw(st.sampled_from(self.old))
            try:
                blob = self.run(self.adapter.read(key, version=token))
            except (Changed, NotFound):
                assert self.model.get(key, (b"", ""))[1] != token
            else:  # the same content again, where the content is the token
                assert self.model[key] == (blob.data, token)

    @rule(prefix=st.sampled_from(["", "a", "a/", "a-", "a.b/a", "é", "b/", "nothing"]), after=KEYS)
    def list_some(self, prefix: str, after: str) -> None:
        wanted = [key for key in self.model if key.startswith(prefix) and key.encode() > after.encode()]
        assert self.keys(prefix, after) == sorted(wanted, key=str.encode)

    @invariant()
    def everything_is_listed(self) -> None:
        entries = {entry.path: (entry.size, entry.token) for entry in self.entries("", None)}
        assert entries == {key: (len(data), token) for key, (data, token) in self.model.items()}
        assert self.keys("", None) == sorted(self.model, key=str.encode)

    def entries(self, prefix: str, after: str | None) -> list[Entry]:
        found: list[Entry] = []
        cursor = None
        while True:
            page = self.run(self.adapter.list_page(prefix, start_after=after, cursor=cursor))
            found += page.entries
            if page.cursor is None:
                return found
            cursor = page.cursor

    def keys(self, prefix: str, after: str | None) -> list[str]:
        return [entry.path for entry in self.entries(prefix, after)]

    def teardown(self) -> None:
        self.run(self.adapter.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class LocalMachine(StoreMachine):
    def make(self) -> Adapter:
        self.folder = tempfile.mkdtemp(prefix="model-")
        return open_adapter(self.folder, page_size=3)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


class GenericFileMachine(LocalMachine):
    def make(self) -> Adapter:
        self.folder = tempfile.mkdtemp(prefix="model-")
        return FsspecAdapter(f"file://{self.folder}", {}, page_size=3)


class MemoryMachine(StoreMachine):
    def make(self) -> Adapter:
        return open_adapter(f"memory://{uuid.uuid4().hex}/x", page_size=3)


class GenericMemoryMachine(StoreMachine):
    def make(self) -> Adapter:
        return FsspecAdapter(f"memory://{uuid.uuid4().hex}/x", {}, page_size=3)


TestLocal = LocalMachine.TestCase
TestGenericFile = GenericFileMachine.TestCase
TestMemory = MemoryMachine.TestCase
TestGenericMemory = GenericMemoryMachine.TestCase
TestLocal.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestGenericFile.settings = TestMemory.settings = TestGenericMemory.settings = TestLocal.settings
