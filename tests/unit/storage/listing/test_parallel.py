"""Listing folders at once: everything once, whatever the shape, and errors as they are."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaferry.errors import Denied, Unavailable
from metaferry.storage.listing import parallel
from metaferry.storage.listing.parallel import list_parallel
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import Level, Page
from metaferry.storage.retry.attempts import Policy
from metaferry.storage.retry.storage import Retrying

KEYS = st.lists(
    st.tuples(st.sampled_from(["", "a/", "b/", "a/c/", "d e/", ".lightly/x/"]), st.integers(0, 30)).map(
        lambda pair: f"{pair[0]}{pair[1]:02d}.png"
    ),
    unique=True,
    max_size=60,
)


class Folders(MemoryAdapter):
    """Memory that tells its folders, counts its listings, and fails where a test says so."""

    def __init__(self, keys: list[str], page_size: int = 3, truncated: bool = False) -> None:
        super().__init__(f"at-once-{uuid.uuid4()}", page_size=page_size)
        for key in keys:
            self.put_blocking(key, b"1")
        self.truncated = truncated
        self.prefixes: list[str] = []
        self.errors: list[Exception] = []
        self.under_way = self.most = 0

    async def list_level(self, prefix: str) -> Level | None:
        if self.truncated:
            return None
        found: dict[str, None] = {}
        entries = []
        cursor: Any = None
        while True:
            page = await super().list_page(prefix, cursor=cursor)
            for entry in page.entries:
                head, slash, _ = entry.path.removeprefix(prefix).partition("/")
                if slash:
                    found[f"{prefix}{head}/"] = None
                else:
                    entries.append(entry)
            if page.cursor is None:
                return Level(entries, list(found))
            cursor = page.cursor

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        self.prefixes.append(prefix)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if self.errors and prefix == "b/":
            raise self.errors.pop(0)
        return await super().list_page(prefix, start_after=start_after, cursor=cursor)


@pytest.fixture(autouse=True)
def small_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """One page is not small, so that small listings show what large ones do."""
    monkeypatch.setattr(parallel, "_FIRST", 1)


def keys_of(adapter: Folders, prefix: str = "") -> list[str]:
    async def collect() -> list[str]:
        storage = Retrying(adapter, Policy(first=0.0))
        return [entry.path async for page in list_parallel(storage, prefix) for entry in page]

    return asyncio.run(collect())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(KEYS, st.integers(1, 7))
def test_every_key_comes_once(keys: list[str], page_size: int) -> None:
    assert sorted(keys_of(Folders(keys, page_size))) == sorted(keys)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(KEYS)
def test_below_a_prefix_too(keys: list[str]) -> None:
    assert sorted(keys_of(Folders(keys), "a/")) == sorted(key for key in keys if key.startswith("a/"))


def test_several_folders_are_under_way_at_once() -> None:
    adapter = Folders([f"{folder}/{n}.png" for folder in "abcdefghijklmnop" for n in range(20)])
    assert len(keys_of(adapter)) == 320
    assert 2 <= adapter.most <= 8


@pytest.mark.parametrize(
    "adapter",
    [
        Folders([f"a/{n}.png" for n in range(9)]),
        Folders([f"{n}/x.png" for n in range(201)]),
        Folders([f"{n}/x.png" for n in range(9)], truncated=True),
    ],
    ids=["one folder", "too many", "more than a page"],
)
def test_where_it_is_not_worth_it_there_is_one_chain(adapter: Folders) -> None:
    keys_of(adapter)
    assert set(adapter.prefixes) == {""}


def test_a_small_listing_costs_its_pages_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_FIRST", 3)
    adapter = Folders([f"{folder}/{n}.png" for folder in "abc" for n in range(9)], page_size=14)
    assert len(keys_of(adapter)) == 27
    assert adapter.prefixes == ["", ""]


def test_a_page_that_fails_is_asked_again() -> None:
    keys = [f"{folder}/{n}.png" for folder in "abc" for n in range(9)]
    adapter = Folders(keys)
    adapter.errors = [Unavailable("once"), Unavailable("twice")]
    assert sorted(keys_of(adapter)) == sorted(keys)


def test_what_a_listing_raises_is_raised() -> None:
    adapter = Folders([f"{folder}/{n}.png" for folder in "abc" for n in range(9)])
    adapter.errors = [Denied("no")]
    with pytest.raises(Denied, match="no"):
        keys_of(adapter)


def test_who_stops_reading_leaves_nothing_behind() -> None:
    adapter = Folders([f"{folder}/{n}.png" for folder in "abcdefgh" for n in range(90)])

    async def first() -> int:
        pages = list_parallel(Retrying(adapter))
        async for page in pages:
            found = len(page)
            break
        await pages.aclose()  # type: ignore[attr-defined]
        return found + len(asyncio.all_tasks())

    assert asyncio.run(first()) == 3 + 1
