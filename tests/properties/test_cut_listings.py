"""Ranges of keys cut in two while they are read: every key once, whatever the keys and the timing.

The model is a store that lists in the byte order of UTF-8, or in some other order, a page at a time,
with answers that arrive in any order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaferry.errors import Denied, Unsupported
from metaferry.storage.listing import scan_pool
from metaferry.storage.listing.key_split import LAST, beyond, midpoint_key
from metaferry.storage.listing.parallel import list_parallel
from metaferry.storage.listing.scan_pool import Disordered, Range
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import Capabilities, Entry, Page
from metaferry.storage.retry.attempts import Policy
from metaferry.storage.retry.storage import Retrying

Order = Callable[[str], Any]


def utf8(key: str) -> bytes:
    return key.encode()


def folder_by_folder(key: str) -> list[bytes]:
    """As a store lists that keeps a folder's keys together: `a/0` before `a-b`."""
    return [segment.encode() for segment in key.split("/")]


class Model(MemoryAdapter):
    """Keys in an order, `page_size` at a time; a loop that turns a random number of times a page."""

    def __init__(
        self,
        keys: list[str],
        page_size: int = 3,
        order: Order = utf8,
        seed: int = 0,
        start_key: bool = True,
    ) -> None:
        super().__init__("unused", page_size=page_size)
        self.keys = sorted(keys, key=order)
        self.order = order
        self.random = random.Random(seed)
        self.requests = 0
        self.given: list[str] = []
        self.deleted: set[str] = set()
        self.refused: Exception | None = None
        self.ignores_start = False
        self._model_capabilities = Capabilities(listing_md5=True, conditional=True, start_key=start_key)

    @property
    def capabilities(self) -> Capabilities:
        return self._model_capabilities

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        self.requests += 1
        for _ in range(self.random.randrange(5)):
            await asyncio.sleep(0)
        if start_after is not None and cursor is None:
            start_after.encode()  # no surrogates
            if self.refused is not None:
                raise self.refused
            if self.ignores_start:
                start_after = None
        after = cursor if cursor is not None else start_after
        rest = [
            key
            for key in self.keys
            if key.startswith(prefix)
            and key not in self.deleted
            and (after is None or self.order(key) > self.order(after))
        ]
        page = rest[: self._page_size]
        self.given += page
        return Page([Entry(k, 1, "t", None, 0.0) for k in page], page[-1] if len(rest) > len(page) else None)


def listed(model: Model, prefix: str = "", *, during: Callable[[int], None] | None = None) -> list[str]:
    async def collect() -> list[str]:
        found: list[str] = []
        async for page in list_parallel(Retrying(model, Policy(first=0.0)), prefix):
            found += [entry.path for entry in page]
            if during is not None:
                during(len(found))
        return found

    return asyncio.run(collect())


ANY_KEY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
#: Names that share beginnings, sort around `/`, have empty segments, and count up in few digits.
LIKELY_KEY = st.builds(
    "".join,
    st.lists(
        st.sampled_from(["a", "b", "/", "//", "-", "0", "1", "9", "é", "日", "😀", "\x7f", " ", "\n"]),
        max_size=7,
    ),
).filter(bool)
KEYS = st.lists(ANY_KEY | LIKELY_KEY, unique=True, max_size=120)


@settings(deadline=None)
@given(KEYS, st.integers(1, 5), st.integers(0, 1_000))
def test_every_key_comes_once(keys: list[str], page_size: int, seed: int) -> None:
    assert sorted(listed(Model(keys, page_size, seed=seed))) == sorted(keys)


@settings(deadline=None)
@given(KEYS, st.integers(1, 5), st.sampled_from(["a", "a/", "0", "é"]))
def test_below_a_prefix_too(keys: list[str], page_size: int, prefix: str) -> None:
    wanted = sorted(key for key in keys if key.startswith(prefix))
    assert sorted(listed(Model(keys, page_size), prefix)) == wanted


@settings(deadline=None)
@given(KEYS, st.integers(1, 4), st.integers(0, 1_000))
def test_another_order_gives_every_key_once_or_says_so(keys: list[str], page_size: int, seed: int) -> None:
    for order in (folder_by_folder, lambda key: key[::-1]):
        try:
            found = listed(Model(keys, page_size, order, seed))
        except Disordered:
            continue
        assert sorted(found) == sorted(keys)


@settings(deadline=None)
@given(KEYS, st.data())
def test_keys_deleted_meanwhile_take_no_other_with_them(keys: list[str], data: st.DataObject) -> None:
    gone = set(data.draw(st.lists(st.sampled_from(keys), unique=True))) if keys else set()
    model = Model(keys, 2, seed=data.draw(st.integers(0, 100)))

    def delete(found: int) -> None:
        if found > len(keys) // 4:
            model.deleted = gone

    found = listed(model, during=delete)
    assert len(found) == len(set(found))
    assert set(keys) - gone <= set(found) <= set(keys)


@settings(deadline=None)
@given(KEYS, st.integers(1, 4), st.integers(0, 1_000), st.data())
def test_a_listing_that_was_cut_off_goes_on(
    keys: list[str], page_size: int, seed: int, data: st.DataObject
) -> None:
    model = Model(keys, page_size, seed=seed)
    found: list[str] = []
    left: list[Range] | None = None
    for _ in range(5):
        stop_after = data.draw(st.integers(1, 30))
        finished, left = asyncio.run(_some(model, found, stop_after, left))
        if finished:
            break
    else:
        asyncio.run(_some(model, found, 10**9, left))
    assert sorted(found) == sorted(keys)


async def _some(
    model: Model, found: list[str], pages: int, left: list[Range] | None
) -> tuple[bool, list[Range] | None]:
    """Lists so many pages on from `left`, as kept; whether that was all, and what is left now."""
    kept: list[list[str]] = []

    async def keep(page: list[Entry], rest: Callable[[], list[Range]]) -> None:
        nonlocal left
        kept.append([entry.path for entry in page])
        left = rest()

    seen = 0
    listing = list_parallel(Retrying(model, Policy(first=0.0)), keep=keep, left=left)
    everything: list[str] = []
    async for page in listing:
        everything += [entry.path for entry in page]
        seen += 1
        if seen == pages:
            await listing.aclose()  # type: ignore[attr-defined]
            if not kept:  # nothing was kept yet: the next one begins anew
                return False, None
            found += [key for each in kept for key in each]
            return False, left
    found += everything
    return True, None


@pytest.mark.parametrize(
    "keys",
    [
        [f"image_{n:09d}.png" for n in range(3_000)],
        [f"{n}.png" for n in range(3_000)],
        [f"2026/camera {n % 3}/{n * 7919 % 3_001:x}.jpg" for n in range(3_000)],
        [f"{random.Random(n).getrandbits(128):032x}" for n in range(3_000)],
        [f"кадр-{n:06d}-日本" for n in range(3_000)],
    ],
    ids=["counted", "unpadded", "three folders", "hashes", "other letters"],
)
def test_one_large_folder_is_read_by_many(keys: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(keys, 6)
    most = 0
    pools: list[scan_pool.ListingPool] = []
    init = scan_pool.ListingPool.__init__

    def keep(self: scan_pool.ListingPool, *given: Any) -> None:
        init(self, *given)
        pools.append(self)

    monkeypatch.setattr(scan_pool.ListingPool, "__init__", keep)

    def count(_: int) -> None:
        nonlocal most
        most = max(most, len(pools[0]._running) if pools else 0)

    assert sorted(listed(model, during=count)) == sorted(keys)
    assert most >= 4
    assert 500 < model.requests <= 500 + 8 + 500 // 16 + 8  # 500 pages in one chain


def test_a_small_listing_costs_its_pages_and_no_more() -> None:
    model = Model([f"{n:02d}" for n in range(27)], 14)
    assert len(listed(model)) == 27
    assert model.requests == 2


def test_few_pages_cost_half_as_many_requests_more_at_most() -> None:
    for pages in range(3, 40):
        model = Model([f"image_{n:06d}.png" for n in range(10 * pages)], 10)
        assert len(listed(model)) == 10 * pages
        assert model.requests <= pages + 1 + min(pages // 2, 8 + pages // 16) + 1


def test_without_the_trait_it_is_one_chain() -> None:
    model = Model([f"{n:04d}" for n in range(900)], 9, start_key=False)
    assert len(listed(model)) == 900
    assert model.requests == 100


def test_a_store_that_ignores_where_to_begin_is_listed_plainly() -> None:
    model = Model([f"{n:04d}" for n in range(900)], 9)
    model.ignores_start = True
    assert len(listed(model)) == 900
    assert model.requests == 101


def test_a_guess_that_the_store_refuses_is_not_made_again() -> None:
    model = Model([f"{n:04d}" for n in range(900)], 9)
    model.refused = Unsupported("no such start")
    assert len(listed(model)) == 900
    assert model.requests == 101


def test_a_right_that_is_missing_is_raised() -> None:
    model = Model([f"{n:04d}" for n in range(900)], 9)
    model.refused = Denied("no")
    with pytest.raises(Denied, match="no"):
        listed(model)


def test_an_order_that_shows_late_is_said() -> None:
    # Bytes in order for the first pages; then a folder whose neighbour sorts before its slash.
    keys = [f"{n:04d}" for n in range(60)] + [f"a/{n:04d}" for n in range(200)] + ["a-b", "a-c"]
    with pytest.raises(Disordered):
        listed(Model(keys, 5, folder_by_folder))


@given(ANY_KEY, ANY_KEY, st.lists(ANY_KEY | LIKELY_KEY, max_size=10))
def test_a_guess_lies_between(one: str, other: str, seen: list[str]) -> None:
    low, high = sorted((one, other))
    guess = midpoint_key(low, high, seen)
    if guess is not None:
        assert low.encode() < guess.encode() < high.encode()


@given(ANY_KEY, ANY_KEY, st.integers(0, 6), st.lists(ANY_KEY | LIKELY_KEY, max_size=10))
def test_a_guess_beyond_lies_above(one: str, other: str, shared: int, seen: list[str]) -> None:
    first, low = sorted((one, other))
    ceiling = low[:shared] + LAST
    guess = beyond(low, first, ceiling, seen)
    if guess is not None:
        assert guess.encode() <= ceiling.encode()


def test_decimals_are_halved_as_decimals() -> None:
    assert midpoint_key("image_0990", "image_1500", ["image_0123", "image_4567"]) == "image_1244~"
