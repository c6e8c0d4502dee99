"""Whether a store honours conditions: asked once in thirty days, and believed in between."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from metaferry.errors import Conflict
from metaferry.runs.state.capability_probe import probe_capabilities, recall_conditions
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import ABSENT, ANYTHING, Capabilities, Page, Precondition, PutResult
from metaferry.storage.retry.attempts import Policy
from metaferry.storage.retry.storage import Retrying

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
KEY = "state/traits.json"


class Server(MemoryAdapter):
    """Speaks a protocol that not every server keeps to; this one does, or does not.

    `replaces` False: no token is ever the right one. `lists` False: listings show others.
    """

    def __init__(
        self, *, honours: bool = True, vary: bool = True, replaces: bool = True, lists: bool = True
    ) -> None:
        super().__init__(f"conditions-{uuid.uuid4().hex}")
        self.honours = honours
        self.replaces = replaces
        self.lists = lists
        self.probes = 0
        self._own = Capabilities(listing_md5=True, conditional=True, conditions_vary=vary)

    @property
    def capabilities(self) -> Capabilities:
        return self._own

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        self.probes += "probe" in path
        if isinstance(only_if, str) and not self.replaces:
            raise Conflict("not the same", path=path)
        return await super().put(path, data, only_if=only_if if self.honours else ANYTHING)

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        if isinstance(only_if, str) and not self.replaces:
            raise Conflict("not the same", path=path)
        await super().delete(path, only_if=only_if if self.honours else ANYTHING)

    async def list_page(self, prefix: str, **more: Any) -> Page:
        page = await super().list_page(prefix, **more)
        if self.lists:
            return page
        return Page([entry._replace(token=f"v2.{entry.token}") for entry in page.entries], page.cursor)


def learn(server: Server, *, now: datetime = NOW) -> Retrying:
    storage = Retrying(server, Policy(retry_for=0))
    asyncio.run(probe_capabilities([(storage, "state/probe")], storage, KEY, now))
    return storage


def remembered(storage: Retrying) -> dict[str, object]:
    value = json.loads(asyncio.run(storage.read(KEY)).data)
    assert value["version"] == 1
    found = value["stores"][storage.url]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("honours", [True, False])
def test_it_is_found_out_once_and_remembered(honours: bool) -> None:
    server = Server(honours=honours)
    first = learn(server)
    assert first.capabilities.conditional is honours
    assert remembered(first) == {
        "conditional": honours,
        "replaces": honours,
        "lists_tokens": True,
        "asked": NOW.isoformat(),
    }
    asked = server.probes
    assert asked == (4 if honours else 3)
    again = learn(server, now=NOW + timedelta(days=30))
    assert again.capabilities.conditional is honours
    assert (server.probes, again.requests.put, again.requests.get) == (asked, 0, 1), "one read a run"


@pytest.mark.parametrize("later", [timedelta(days=31), timedelta(seconds=-1)])
def test_it_is_asked_again_after_thirty_days_and_when_the_date_cannot_be(later: timedelta) -> None:
    server = Server(honours=False)
    learn(server)
    server.honours = True
    asked = server.probes
    assert learn(server, now=NOW + later).capabilities.conditional
    assert server.probes > asked


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"version": 2, "stores": {}}',
        b'{"version": 1, "stores": []}',
        b'{"version": 1}',
        b'{"version": 1, "stores": {"URL": {"conditional": "no", "asked": "2026-11-22T00:00:00+00:00"}}}',
        b'{"version": 1, "stores": {"URL": {"conditional": false, "asked": "2026-11-22T00:00:00"}}}',
        b'{"version": 1, "stores": {"URL": {"conditional": true, "asked": "2026-11-22T00:00:00+00:00"}}}',
        b'{"version": 1, "stores": {"URL": 7}}',
    ],
)
def test_what_is_damaged_is_asked_again(data: bytes) -> None:
    server = Server(honours=True)
    asyncio.run(server.put(KEY, data.replace(b"URL", server.url.encode())))
    storage = learn(server)
    assert storage.capabilities.conditional
    assert server.probes == 4
    assert remembered(storage)["conditional"] is True


def test_a_store_that_knows_no_tag_is_held_for_one_without_replacing() -> None:
    server = Server(replaces=False)
    storage = learn(server)
    assert (storage.capabilities.conditional, storage.capabilities.replaces) == (True, False)
    asyncio.run(_lives(storage))
    again = learn(server)
    assert (again.capabilities.conditional, again.capabilities.replaces) == (True, False)
    asyncio.run(_lives(again))


async def _lives(storage: Retrying) -> None:
    """Checked just before: what is as it was is replaced and deleted, and nothing else."""
    old = await storage.put("a.json", b"1", only_if=ABSENT)
    with pytest.raises(Conflict):
        await storage.put("a.json", b"2", only_if=ABSENT)
    new = await storage.put("a.json", b"3", only_if=old.token)
    with pytest.raises(Conflict):
        await storage.put("a.json", b"4", only_if=old.token)
    with pytest.raises(Conflict):
        await storage.delete("a.json", only_if=old.token)
    await storage.delete("a.json", only_if=new.token)
    await storage.delete("a.json", only_if=new.token)
    assert [page async for page in storage.list("a.json")] == []


def test_a_store_that_lists_other_tags_is_found_out() -> None:
    storage = learn(Server(lists=False))
    assert (storage.capabilities.conditional, storage.capabilities.replaces) == (True, True)
    assert not storage.capabilities.lists_tokens


def test_who_may_write_nothing_believes_what_is_remembered_and_asks_nothing() -> None:
    server = Server(replaces=False, lists=False)
    learn(server)
    asked = server.probes
    storage = Retrying(server, Policy(retry_for=0))
    asyncio.run(recall_conditions([storage], storage, KEY, NOW))
    assert (storage.capabilities.replaces, storage.capabilities.lists_tokens) == (False, False)
    assert (server.probes, storage.requests.put) == (asked, 0)
    fresh = Server(replaces=False)
    storage = Retrying(fresh, Policy(retry_for=0))
    asyncio.run(recall_conditions([storage], storage, KEY, NOW))
    assert storage.capabilities.replaces
    assert fresh.probes == 0


def test_stores_beside_it_are_kept() -> None:
    server = Server(honours=True)
    other = {"conditional": False, "asked": NOW.isoformat()}
    text = json.dumps({"version": 1, "stores": {"s3://elsewhere/": other}})
    asyncio.run(server.put(KEY, text.encode()))
    storage = learn(server)
    stores = json.loads(asyncio.run(storage.read(KEY)).data)["stores"]
    assert stores["s3://elsewhere/"] == other
    assert set(stores) == {"s3://elsewhere/", storage.url}


def test_where_the_protocol_leaves_no_doubt_nothing_is_asked() -> None:
    server = Server(honours=True, vary=False)
    storage = learn(server)
    assert (storage.requests.put, storage.requests.get) == (0, 0)
