"""Properties of the format itself: names go there and back, documents are strict JSON and canonical."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaferry.lightly.document import document
from metaferry.lightly.names import (
    SCHEMA,
    FrameName,
    HostileName,
    Kind,
    Standing,
    clean_record_name,
    collisions,
    digits,
    document_path,
    frame_document_path,
    hostile,
    media_kind,
    parse_document,
    parse_frame_document,
)
from metaferry.lightly.schema import (
    Entry,
    Observed,
    ValueType,
    default_for,
    infer,
    merge,
    parse_schema,
    schema_bytes,
)
from properties.engine import names, unicode_text

#: Few enough stems that collisions are common.
stems = st.sampled_from(
    ["a", "a-0-mp4", "a-00-mp4", "a-1-avi", "b.c", "s/a", "schema", "s/schema", "a-0-MP4"]
)
media = st.builds("{}.{}".format, stems, st.sampled_from(["mp4", "MP4", "avi", "webm", "png", "jpg", "PNG"]))
videos = st.builds("{}.{}".format, st.one_of(stems, names), st.sampled_from(["mp4", "MP4", "mov"])).filter(
    lambda path: media_kind(path) is Kind.VIDEO
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | unicode_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(unicode_text, inner, max_size=4),
    max_leaves=12,
)


@given(video=videos, frames=st.integers(1, 10**6), data=st.data())
def test_a_frame_document_leads_back_to_its_frame(video: str, frames: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, frames - 1))
    width = digits(frames)
    target = frame_document_path(video, index, width)
    assert parse_frame_document(target) == FrameName(video, index, width)
    (belonging,) = [found for found in parse_document(target, {video: frames}) if found.kind is Kind.FRAME]
    assert (belonging.media, belonging.index, belonging.standing) == (video, index, Standing.CURRENT)


@given(names, st.from_regex(r"[0-9]{1,18}", fullmatch=True), st.sampled_from(["mp4", "MoV", "png", "avı"]))
def test_what_is_read_as_a_frame_name_is_written_as_it_was(stem: str, written: str, extension: str) -> None:
    target = f".lightly/metadata/{stem}-{written}-{extension}.json"
    frame = parse_frame_document(target)
    assert (frame is None) == (media_kind(f"{stem}.{extension}") is not Kind.VIDEO)
    if frame is not None:
        assert frame_document_path(frame.video_path, frame.index, frame.digits_written) == target


@given(st.sets(media, max_size=12), st.data())
def test_documents_of_a_listing_are_its_own_but_for_the_reported_collisions(
    listing: set[str], data: st.DataObject
) -> None:
    counts = {
        path: data.draw(st.sampled_from([0, 1, 2, 9, 10, 11]))
        for path in sorted(listing)
        if media_kind(path) is Kind.VIDEO
    }
    owners: dict[str, list[str]] = {}
    for path in listing:
        owners.setdefault(document_path(path), []).append(path)
    for path, count in counts.items():
        for index in range(count):
            owners.setdefault(frame_document_path(path, index, digits(count)), []).append(path)
    shared = {target for target, own in owners.items() if len(own) > 1 or target == SCHEMA}
    found = collisions(listing, counts)
    assert {collision.target for collision in found} == shared
    for target in shared:
        named = {path for collision in found if collision.target == target for path in collision.media}
        assert named == set(owners[target])


@given(names)
def test_a_cleaned_name_is_clean(name: str) -> None:
    tail = name
    while tail.startswith(("/", "./")):
        tail = tail.removeprefix(".").removeprefix("/")
    if hostile(tail) is None:
        assert clean_record_name(name) == tail
    else:
        with pytest.raises(HostileName):
            clean_record_name(name)


def _no_constant(text: str) -> NoReturn:
    raise AssertionError(f"{text} is not JSON")


def _no_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@given(unicode_text, st.sampled_from(Kind), st.dictionaries(unicode_text, json_values, max_size=5))
def test_every_document_is_strict_json_and_canonical(
    file_name: str, kind: Kind, metadata: dict[str, Any]
) -> None:
    body = document(file_name, kind, metadata)
    read = json.loads(body, parse_constant=_no_constant, object_pairs_hook=_no_repetition)
    assert list(read) == ["file_name", "type", "metadata"]
    assert (read["file_name"], read["type"]) == (file_name, str(kind))
    assert document(read["file_name"], Kind(read["type"]), read["metadata"]) == body


@given(st.dictionaries(unicode_text, json_values, max_size=5), st.randoms())
def test_the_order_of_keys_does_not_matter(metadata: dict[str, Any], random: Any) -> None:
    shuffled = list(metadata.items())
    random.shuffle(shuffled)
    assert document("a.png", Kind.IMAGE, dict(shuffled)) == document("a.png", Kind.IMAGE, metadata)


paths = st.lists(st.sampled_from(["a", "b", "lightly", "c d", "é", "[", "x[0]", ""]), min_size=1, max_size=3)


@given(
    st.dictionaries(paths.map(".".join), st.sampled_from(ValueType), max_size=6),
    st.dictionaries(paths.map(".".join), st.sampled_from(ValueType), max_size=6),
)
def test_inferred_schemas_are_always_right_and_merging_settles(
    first: dict[str, ValueType], second: dict[str, ValueType]
) -> None:
    once = merge([], first)
    assert parse_schema(schema_bytes(once.entries), "schema.json") == once.entries
    twice = merge(once.entries, second)
    assert parse_schema(schema_bytes(twice.entries), "schema.json") == twice.entries
    assert twice.entries[: len(once.entries)] == once.entries
    assert merge(twice.entries, first | second).unchanged
    assert {entry.path for entry in twice.entries} | {*once.left_out, *twice.left_out} >= set(first) | set(
        second
    )
    assert all(
        isinstance(entry, Entry) and entry.default == default_for(entry.type) for entry in twice.entries
    )


def test_every_observation_is_inferred_alone_or_not_at_all() -> None:
    assert {kind: infer([kind]) is not None for kind in Observed} == {
        kind: kind is not Observed.OTHER for kind in Observed
    }
