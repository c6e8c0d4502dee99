"""The storage contract, as `storage/protocol.py` words it, over every adapter and real servers."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator

import pytest

from contract.subjects import BYTE_ORDER, CONDITIONAL, LOCAL, PROVES_CONTENT, Subject, keys_of, pages_of
from metaferry.errors import Changed, Conflict, NotFound, Unsupported
from metaferry.storage.listing.parallel import list_parallel
from metaferry.storage.listing.scan_pool import Disordered
from metaferry.storage.protocol import ABSENT, Adapter, Entry, Levelled
from metaferry.storage.retry.storage import Retrying

NFC, NFD = "caf\u00e9.json", "cafe\u0301.json"

NASTY = [
    "plain.json",
    "a b/c d.json",
    " leading and trailing ",
    "100%.json",
    "%41%2F.json",
    "a#b.json",
    "a?b=c.json",
    "a?versionId=x.json",
    "a?versionid=x",
    "a+b.json",
    "a&b=c;d,e.json",
    "c:first/x.json",
    "quote'\".json",
    "[a-b]{c}*.json",
    "~$!@^(`)|<>.json",
    ".hidden/.x",
    "dots...json",
    "日本/語.json",
    "emoji-😀.json",
    NFC,
    NFD,
    "long/" + "n" * 200 + ".json",
    "deep/" + "/".join("abcdefghij") + "/x.json",
]


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


async def write_all(adapter: Adapter, keys: list[str], data: bytes = b"{}") -> None:
    gate = asyncio.Semaphore(32)

    async def write(key: str) -> None:
        async with gate:
            await adapter.put(key, data)

    await asyncio.gather(*map(write, keys))


@pytest.mark.parametrize("key", NASTY)
def test_what_was_put_is_listed_and_read_back(subject: Subject, key: str) -> None:
    adapter, data = subject.adapter(), f'{{"key": "{key}"}}'.encode()
    put_result = subject.run(adapter.put(key, data))
    assert put_result.md5 == md5(data)
    blob = subject.run(adapter.read(key))
    assert (blob.data, blob.token, blob.size) == (data, put_result.token, len(data))
    ((entry,),) = subject.run(pages_of(adapter))
    assert (entry.path, entry.size, entry.token) == (key, len(data), put_result.token)
    proof = md5(data) if subject.kind in PROVES_CONTENT else None
    assert entry.md5 == proof
    assert adapter.capabilities.listing_md5 == (proof is not None)
    subject.run(adapter.delete(key))
    assert subject.run(keys_of(adapter)) == []


def test_names_that_look_alike_are_different_keys(subject: Subject) -> None:
    adapter = subject.adapter()
    alike = [NFC, NFD, "A.json", "a.json", "a b", "a+b", "a%20b"]
    for number, key in enumerate(alike):
        subject.run(adapter.put(key, str(number).encode()))
    assert sorted(subject.run(keys_of(adapter))) == sorted(alike)
    for number, key in enumerate(alike):
        assert subject.run(adapter.read(key)).data == str(number).encode()


@pytest.mark.slow
def test_a_listing_of_many_pages_is_complete(subject: Subject) -> None:
    count, size = (2500, 400) if subject.kind in LOCAL else (1050, 150)
    keys = [f"day-{number % 7}/image-{number:04}.json" for number in range(count)]
    adapter = subject.adapter(page_size=size)
    subject.run(write_all(adapter, keys))
    pages = subject.run(pages_of(adapter))
    assert len(pages) >= 7
    assert max(map(len, pages)) <= size
    listed = [entry.path for page in pages for entry in page]
    assert len(listed) == len(set(listed)) == count
    assert set(listed) == set(keys)
    if subject.kind in BYTE_ORDER:
        assert listed == sorted(keys)
    again = [entry.path for page in subject.run(_storage_pages(subject)) for entry in page]
    assert again == listed


async def _storage_pages(subject: Subject) -> list[list[object]]:
    return [list(page) async for page in subject.storage().list()]


def test_keys_are_listed_in_byte_order(subject: Subject) -> None:
    if subject.kind not in BYTE_ORDER:
        pytest.skip("this store lists folder by folder")
    keys = ["a", "a-b", "a.b", "a.b/c", "b/a/x", "b/a0", "b/é", "b/z", "ba", "日", "b-/c", "b.json", "b0/c"]
    if subject.kind in ("local", "generic-file", "generic-memory"):
        keys.remove("a.b")  # a folder there
    adapter = subject.adapter(page_size=3)
    subject.run(write_all(adapter, keys))
    assert subject.run(keys_of(adapter)) == sorted(keys, key=str.encode)


def test_a_page_can_be_asked_for_again(subject: Subject) -> None:
    keys = [f"k{number:02}/x" for number in range(20)]
    adapter = subject.adapter(page_size=6)
    subject.run(write_all(adapter, keys))

    async def twice() -> list[str]:
        listed: list[str] = []
        cursor = None
        while True:
            page = await adapter.list_page("", cursor=cursor)
            again = await adapter.list_page("", cursor=cursor)
            assert [entry.path for entry in again.entries] == [entry.path for entry in page.entries]
            listed += [entry.path for entry in page.entries]
            if page.cursor is None:
                return listed
            # The one whose answer is kept may be either: go on from the second.
            cursor = again.cursor

    assert sorted(subject.run(twice())) == sorted(keys)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["day/a.json", "day/b.json", "day2/a.json", "daz.json", "e/f/g.json"]),
        ("da", ["day/a.json", "day/b.json", "day2/a.json", "daz.json"]),
        ("day", ["day/a.json", "day/b.json", "day2/a.json"]),
        ("day/", ["day/a.json", "day/b.json"]),
        ("day/b", ["day/b.json"]),
        ("day/b.json", ["day/b.json"]),
        ("e/f/", ["e/f/g.json"]),
        ("nothing", []),
        ("no/thing/", []),
        ("daz.json/", []),
    ],
)
def test_a_prefix_is_any_string(subject: Subject, prefix: str, expected: list[str]) -> None:
    adapter = subject.adapter(page_size=2)
    keys = ["day/a.json", "day/b.json", "day2/a.json", "daz.json", "e/f/g.json"]
    subject.run(write_all(adapter, keys))
    assert sorted(subject.run(keys_of(adapter, prefix))) == expected


def test_the_folders_of_a_level_hold_all_that_is_not_directly_below_it(subject: Subject) -> None:
    adapter = subject.adapter()
    if not isinstance(adapter, Levelled):
        pytest.skip("this adapter lists in one chain")
    keys = ["a.png", "a/b.png", "a/c/d.png", "a b%/é.json", ".lightly/x.json", "z#/?.png"]
    subject.run(write_all(adapter, keys))
    level = subject.run(adapter.list_level(""))
    assert level is not None
    assert [entry.path for entry in level.entries] == ["a.png"]
    assert sorted(level.folders) == sorted({f"{key.partition('/')[0]}/" for key in keys[1:]})
    below = subject.run(adapter.list_level("a/"))
    assert below is not None
    assert ([entry.path for entry in below.entries], below.folders) == (["a/b.png"], ["a/c/"])
    empty = subject.run(adapter.list_level("nothing/"))
    assert empty is not None
    assert (empty.entries, empty.folders) == ([], [])
    small = subject.adapter(page_size=2)
    assert isinstance(small, Levelled)
    assert subject.run(small.list_level("")) is None  # more than a page: one chain is as good


def test_a_large_listing_is_cut_where_that_can_be_and_gives_every_key_once(subject: Subject) -> None:
    adapter = subject.adapter(page_size=5)
    keys = [f"flat/{n:03d} é+%&.png" for n in range(90)]
    subject.run(write_all(adapter, keys))
    listed: list[str] = []
    cuts: list[str] = []

    class Watched(Retrying):
        def list(self, prefix: str = "", *, start_after: str | None = None) -> AsyncIterator[list[Entry]]:
            cuts.extend([start_after] if start_after is not None else [])
            return super().list(prefix, start_after=start_after)

    async def collect() -> None:
        async for page in list_parallel(Watched(adapter), "flat/"):
            listed.extend(entry.path for entry in page)

    try:
        subject.run(collect())
    except Disordered:
        assert subject.kind not in BYTE_ORDER  # then it is listed plainly, which other tests show
        return
    assert sorted(listed) == keys
    assert bool(cuts) == adapter.capabilities.start_key


def test_a_listing_starts_after_a_key(subject: Subject) -> None:
    if subject.kind not in BYTE_ORDER:
        pytest.skip("this store lists folder by folder")
    keys = sorted(["a", "b/1", "b/2", "b.x", "c/d/e", "c/d0", "d"], key=str.encode)
    adapter = subject.adapter(page_size=2)
    subject.run(write_all(adapter, keys))
    for after in [*keys, "b", "b/", "b/10", "c/d/", "zz", "A"]:
        expected = [key for key in keys if key.encode() > after.encode()]
        assert subject.run(keys_of(adapter, start_after=after)) == expected, after
    assert subject.run(keys_of(adapter, "b", start_after="b/1")) == ["b/2"]


def test_a_listing_stays_below_its_datasource(subject: Subject) -> None:
    """Siblings whose names only begin like ours are somebody else's."""
    adapter = subject.adapter()
    subject.run(adapter.put("mine", b"1"))
    beside = subject.url.rstrip("/") + "-beside"
    if subject.kind in ("local", "generic-file"):
        from pathlib import Path

        Path(beside).mkdir()
    other = subject.beside(beside)
    subject.run(other.adapter().put("theirs", b"2"))
    assert subject.run(keys_of(adapter)) == ["mine"]
    assert subject.run(keys_of(other.adapter())) == ["theirs"]
    other.close()


def test_create_only(subject: Subject) -> None:
    adapter = subject.adapter()
    put_result = subject.run(adapter.put("x.json", b"first", only_if=ABSENT))
    error = subject.fails(Conflict, adapter.put("x.json", b"second", only_if=ABSENT))
    assert error.path == "x.json"
    assert subject.run(adapter.read("x.json")).data == b"first"
    assert subject.run(adapter.read("x.json")).token == put_result.token
    assert adapter.capabilities.conditional == (subject.kind in CONDITIONAL)


def test_replace_only_what_is_known(subject: Subject) -> None:
    adapter = subject.adapter()
    first = subject.run(adapter.put("x.json", b"one"))
    second = subject.run(adapter.put("x.json", b"two", only_if=first.token))
    assert second.token != first.token
    subject.fails(Conflict, adapter.put("x.json", b"three", only_if=first.token))
    assert subject.run(adapter.read("x.json")).data == b"two"
    subject.run(adapter.delete("x.json"))
    subject.fails(Conflict, adapter.put("x.json", b"three", only_if=second.token))
    subject.fails(NotFound, adapter.read("x.json"))


def test_one_of_many_creates_wins(subject: Subject) -> None:
    if subject.kind not in CONDITIONAL:
        pytest.skip("preconditions are checked just before, not by the store")
    adapter = subject.adapter()

    async def race() -> list[bool]:
        async def create(number: int) -> bool:
            try:
                await adapter.put("lease.json", str(number).encode(), only_if=ABSENT)
            except Conflict:
                return False
            return True

        return await asyncio.gather(*map(create, range(16)))

    won = subject.run(race())
    assert sum(won) == 1
    assert subject.run(adapter.read("lease.json")).data == str(won.index(True)).encode()


def test_a_pinned_read_never_mixes_versions(subject: Subject) -> None:
    adapter = subject.adapter()
    first = subject.run(adapter.put("v.mp4", b"a" * 100))
    assert subject.run(adapter.read("v.mp4", 0, 10, version=first.token)).data == b"a" * 10
    second = subject.run(adapter.put("v.mp4", b"b" * 100))
    for start, end in ((0, 10), (50, None), (0, None), (0, 0), (100, 200)):
        subject.fails(Changed, adapter.read("v.mp4", start, end, version=first.token))
    assert subject.run(adapter.read("v.mp4", 90, 200, version=second.token)).data == b"b" * 10


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, None),
        (0, 10),
        (0, 1),
        (3, 7),
        (9, 10),
        (9, None),
        (5, 99),
        (0, 0),
        (4, 4),
        (10, 20),
        (10, None),
        (50, 60),
    ],
)
def test_ranges_are_cut_at_the_end(subject: Subject, start: int, end: int | None) -> None:
    adapter, data = subject.adapter(), bytes(range(10))
    put_result = subject.run(adapter.put("r.bin", data))
    blob = subject.run(adapter.read("r.bin", start, end))
    assert (blob.data, blob.token, blob.size) == (data[start:end], put_result.token, 10)


def test_an_empty_object_is_an_object(subject: Subject) -> None:
    adapter = subject.adapter()
    put_result = subject.run(adapter.put("empty.json", b""))
    assert put_result.md5 == md5(b"")
    for start, end in ((0, None), (0, 10), (5, 10), (5, None)):
        blob = subject.run(adapter.read("empty.json", start, end))
        assert (blob.data, blob.token, blob.size) == (b"", put_result.token, 0)
    ((entry,),) = subject.run(pages_of(adapter))
    assert (entry.path, entry.size) == ("empty.json", 0)


@pytest.mark.filterwarnings("ignore:Sending a large body")  # Azure's SDK does not stream a single put
def test_a_megabyte_arrives_as_it_was_sent(subject: Subject) -> None:
    data = random.Random(7).randbytes(3_000_001)
    adapter = subject.adapter()
    subject.run(adapter.put("big.bin", data))
    assert subject.run(adapter.read("big.bin")).data == data
    assert subject.run(adapter.read("big.bin", 1_000_000, 2_500_000)).data == data[1_000_000:2_500_000]


@pytest.mark.slow
def test_a_reader_never_sees_a_part(subject: Subject) -> None:
    storage = subject.storage()
    if not storage.capabilities.atomic:
        pytest.skip("this file system has no rename, and says so")
    size = 200_000

    async def race() -> None:
        await storage.put("doc.json", b"0" * size)
        writing = True
        seen = 0

        async def read() -> None:
            nonlocal seen
            while writing:
                data = (await storage.read("doc.json")).data
                assert len(data) == size
                assert len(set(data)) == 1
                seen += 1

        readers = [asyncio.create_task(read()) for _ in range(4)]
        number = 0
        # A store may take all puts before it answers a read; a reader that is done has failed.
        while number < 40 or (seen <= 4 and not any(reader.done() for reader in readers)):
            number += 1
            await storage.put("doc.json", str(number % 10).encode() * size)
            await asyncio.sleep(0)  # memory never waits by itself
        writing = False
        await asyncio.gather(*readers)

    subject.run(race())


def test_deleting_what_is_gone_is_success(subject: Subject) -> None:
    adapter = subject.adapter()
    subject.run(adapter.delete("never/was.json"))
    put_result = subject.run(adapter.put("x/y.json", b"{}"))
    subject.fails(
        Conflict, adapter.delete("x/y.json", only_if="0-0-0" if "-" in put_result.token else "1" * 32)
    )
    assert subject.run(adapter.read("x/y.json")).data == b"{}"
    subject.run(adapter.delete("x/y.json", only_if=put_result.token))
    subject.run(adapter.delete("x/y.json", only_if=put_result.token))
    subject.run(adapter.delete("x/y.json"))
    assert subject.run(keys_of(adapter)) == []


def test_a_missing_object_is_named(subject: Subject) -> None:
    adapter = subject.adapter()
    subject.run(adapter.put("there", b"1"))
    error = subject.fails(NotFound, adapter.read("not/there.json"))
    assert error.path == "not/there.json"
    assert '"not/there.json"' in str(error)
    assert adapter.url in str(error)
    assert subject.fails(NotFound, adapter.read("not/there.json", 0, 0)).path == "not/there.json"


def test_a_missing_bucket_is_not_a_missing_object(subject: Subject) -> None:
    if subject.kind in ("memory", "generic-memory"):
        pytest.skip("memory has no buckets")
    gone = subject.beside(_elsewhere(subject))
    adapter = gone.adapter()
    assert gone.fails(NotFound, adapter.list_page("")).path == ""
    if not subject.kind.startswith("generic"):  # a folder of a file system is made when it is needed
        error = gone.fails(NotFound, adapter.read("x"))
        assert error.path == ""
        assert "metaferry never creates" in error.advice
    if subject.kind in (
        "local",
        "s3",
        "gcs",
        "azure",
        "fast_azure",
    ):  # SeaweedFS makes buckets for administrators
        assert gone.fails(NotFound, adapter.put("x", b"")).path == ""
        assert gone.fails(NotFound, adapter.put("x", b"", only_if="1")).path == ""
        assert gone.fails(NotFound, adapter.list_page("")).path == ""
    gone.close()


def _elsewhere(subject: Subject) -> str:
    if "://" not in subject.url:
        return subject.url + "/not/there"
    scheme, _, rest = subject.url.partition("://")
    bucket, _, prefix = rest.partition("/")
    return f"{scheme}://{bucket[:-4]}none/{prefix}"


def test_folder_markers_are_no_entries(subject: Subject) -> None:
    if subject.kind not in ("s3", "fast_s3", "gcs", "azure", "fast_azure"):
        pytest.skip("keys of this store cannot end in a slash")
    adapter = subject.adapter(page_size=2)
    subject.run(write_all(adapter, ["dir/", "dir/sub/", "other/"], b""))
    subject.run(write_all(adapter, ["dir/a", "dir/sub/b"]))
    assert subject.run(keys_of(adapter)) == ["dir/a", "dir/sub/b"]


@pytest.mark.parametrize("key", ["../x", "a/../../x", "a/./b", "..", "", "a/.."])
def test_keys_that_clients_resolve_are_refused(subject: Subject, key: str) -> None:
    if subject.kind == "memory":
        pytest.skip("nothing is resolved there")
    adapter = subject.adapter()
    subject.run(adapter.put("x", b"x"))
    subject.fails(Unsupported, adapter.put(key, b"escaped"))
    subject.fails(Unsupported, adapter.read(key))
    subject.fails(Unsupported, adapter.delete(key))
    assert subject.run(keys_of(adapter)) == ["x"]


def test_delete_only_if_absent_makes_no_sense(subject: Subject) -> None:
    adapter = subject.adapter()
    subject.run(adapter.put("x", b"1"))
    subject.fails(Unsupported, adapter.delete("x", only_if=ABSENT))
    assert subject.run(keys_of(adapter)) == ["x"]
