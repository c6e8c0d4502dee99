"""The media listing: kinds, globs, and one listing for media and documents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaferry.lightly.names import Kind, media_kind
from metaferry.media.listing import MediaFilter, datasource_pages, media_pages, split_page
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Entry


def entry(path: str) -> Entry:
    return Entry(path, size=len(path), token=f"token of {path}", md5=None, mtime=1.5)


def kinds(*paths: str) -> dict[str, Kind]:
    page = MediaFilter().page([entry(path) for path in paths])
    return dict(zip(page.path, page.kind, strict=True))


def test_kinds_by_extension_in_any_case() -> None:
    assert kinds("a.png", "b/c.JPEG", "d.Mp4", "e.hevc", "f.webm", "a.b.mov") == {
        "a.png": Kind.IMAGE,
        "b/c.JPEG": Kind.IMAGE,
        "d.Mp4": Kind.VIDEO,
        "e.hevc": Kind.VIDEO,
        "f.webm": Kind.VIDEO,
        "a.b.mov": Kind.VIDEO,
    }


@pytest.mark.parametrize(
    "path",
    [
        ".lightly/metadata/a.png",
        ".lightly/x.mp4",
        ".metaferry/runs/1/a.png",
        ".mp4",
        "sub/.mp4",
        "README",
        "a.txt",
        "a.json",
        "png",
        "folder.png/readme",
        "a.png.bak",
        "a.png ",
    ],
)
def test_what_is_no_media(path: str) -> None:
    assert kinds(path) == {}
    assert MediaFilter().classify(path) == (None, False)


@pytest.mark.parametrize("path", ["x.lightly/a.png", "sub/.lightly/a.png", ".lightly.png", ".hidden/a.png"])
def test_only_the_root_folders_are_reserved(path: str) -> None:
    assert kinds(path) == {path: Kind.IMAGE}


PATHS = st.one_of(
    st.text(max_size=30),
    st.builds(
        lambda folder, stem, extension: f"{folder}{stem}.{extension}",
        st.sampled_from(["", "a/", "a/b.c/", ".lightly/", ".lightly/metadata/", ".metaferry/", "/", "a//"]),
        st.text(max_size=5),
        st.sampled_from(["mp4", "MP4", "pNg", "tiff", "json", "ſ", "JPEG", "ＰＮＧ", "", "mp4/"]),
    ),
)


@given(st.lists(PATHS))
def test_the_quick_loop_knows_exactly_what_media_kind_knows(paths: list[str]) -> None:
    page = MediaFilter().page([entry(path) for path in paths])
    expected = [(path, media_kind(path)) for path in paths if media_kind(path) is not None]
    assert list(zip(page.path, page.kind, strict=True)) == expected
    assert page.others == len(paths) - len(expected)
    assert page.included == [True] * len(expected)


def included(rules: MediaFilter, *paths: str) -> set[str]:
    page = rules.page([entry(path) for path in paths])
    assert page.path == list(paths)  # every media file is there, included or not
    assert [rules.classify(path)[1] for path in paths] == page.included
    return {path for path, taken in zip(page.path, page.included, strict=True) if taken}


def test_without_rules_everything_is_included() -> None:
    assert included(MediaFilter(), "a.png", "b/c.mp4") == {"a.png", "b/c.mp4"}


def test_include_takes_any_of_its_patterns() -> None:
    rules = MediaFilter(include=("**/*.mp4", "still/*.png"))
    assert included(rules, "a.mp4", "x/y/b.mp4", "still/c.png", "still/x/d.png", "e.png") == {
        "a.mp4",
        "x/y/b.mp4",
        "still/c.png",
    }


def test_patterns_are_case_sensitive() -> None:
    assert included(MediaFilter(include=("*.mp4",)), "a.mp4", "b.MP4") == {"a.mp4"}


def test_exclude_takes_out_again() -> None:
    rules = MediaFilter(include=("**/*.png",), exclude=("tmp/**", "**/*_mask.png"))
    assert included(rules, "a.png", "tmp/a.png", "tmp/x/a.png", "b/a_mask.png", "c.mp4") == {"a.png"}


def test_a_prefix_is_any_string() -> None:
    assert included(MediaFilter(prefix="day-1"), "day-1/a.png", "day-10/b.png", "day-2/c.png") == {
        "day-1/a.png",
        "day-10/b.png",
    }


def test_a_newline_in_a_key_hides_nothing() -> None:
    assert included(MediaFilter(include=("**/*.png",)), "a\nb.png", "x\n/c.png") == {"a\nb.png", "x\n/c.png"}


def test_a_pattern_makes_no_media_of_other_files() -> None:
    page = MediaFilter(include=("**",)).page([entry("notes.txt")])
    assert len(page) == 0
    assert page.others == 1


def test_a_page_carries_what_the_listing_told() -> None:
    page = MediaFilter().page([entry("x.txt"), entry("a.png")])
    assert (page.path, page.size, page.token, page.mtime) == (["a.png"], [5], ["token of a.png"], [1.5])


def test_one_listing_is_parted_into_media_and_documents() -> None:
    paths = [
        ".lightly/metadata/a.json",
        ".lightly/metadata/schema.json",
        ".lightly/metadata/picture.png",
        ".lightly/predictions/p.json",
        ".metaferry/ledger.parquet",
        "a.png",
        "notes.txt",
    ]
    media, documents = split_page([entry(path) for path in paths])
    assert [e.path for e in media] == ["a.png", "notes.txt"]
    assert [e.path for e in documents] == paths[:3]


def test_a_whole_datasource_in_pages(portal: Portal) -> None:
    storage = open_storage("memory://listing-pages", page_size=2)
    keys = [".lightly/metadata/a.json", ".metaferry/x.parquet", "a.png", "b.mp4", "c.txt", "d/e.webp"]
    for key in keys:
        portal.run(storage.put(key, b"x"))

    async def everything() -> list[tuple[list[str], list[str]]]:
        rules = MediaFilter(exclude=("d/**",))
        return [
            (page.path, [e.path for e in documents])
            async for page, documents in datasource_pages(storage, rules)
        ]

    async def media(prefix: str) -> list[tuple[str, bool]]:
        rules = MediaFilter(exclude=("d/**",))
        return [
            pair
            async for page in media_pages(storage, rules, prefix)
            for pair in zip(page.path, page.included, strict=True)
        ]

    pages = portal.run(everything())
    assert len(pages) >= 3
    assert [path for paths, _ in pages for path in paths] == ["a.png", "b.mp4", "d/e.webp"]
    assert [path for _, documents in pages for path in documents] == [".lightly/metadata/a.json"]
    assert portal.run(media("")) == [("a.png", True), ("b.mp4", True), ("d/e.webp", False)]
    assert portal.run(media("b")) == [("b.mp4", True)]
