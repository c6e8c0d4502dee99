"""Names in SQL are names in Python: the same answer for every name, however odd."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from metaferry.lightly import names as reference
from metaferry.lightly.key_limits import KeyLimits, too_long
from metaferry.lightly.names import HostileName, Kind
from metaferry.planning.sql import rules as sql
from properties.engine import connection, evaluate, evaluate_table, names, unicode_text

batches = st.lists(st.one_of(st.none(), names), min_size=1, max_size=30)
media = st.builds(
    "{}.{}".format, names, st.sampled_from(["mp4", "MP4", "hevc", "png", "JPEG", "m4v"])
).filter(lambda path: reference.media_kind(path) is not None)
frames = st.tuples(
    media.filter(lambda path: reference.media_kind(path) is Kind.VIDEO),
    st.integers(-2, 10**6) | st.integers(0, 2**62),
    st.integers(-1, 25),
)


@given(batches)
def test_media_kinds(batch: list[str | None]) -> None:
    found = [kind for (kind,) in evaluate([sql.media_kind("x")], batch, pa.string())]
    assert found == [None if path is None else reference.media_kind(path) for path in batch]


@given(batches)
def test_cleaned_names_and_reasons(batch: list[str | None]) -> None:
    cleaned = sql.clean_name("x")
    rows = evaluate([cleaned, sql.hostile_reason(cleaned), sql.hostile_reason("x")], batch, pa.string())
    for name, (clean, reason, own_reason) in zip(batch, rows, strict=True):
        if name is None:
            assert (clean, reason, own_reason) == (None, None, None)
            continue
        assert own_reason == reference.hostile(name)
        try:
            wanted: tuple[str, str | None] = reference.clean_record_name(name), None
        except HostileName as error:
            wanted = clean, error.reason
        assert (clean, reason) == wanted


@given(st.lists(media, min_size=1, max_size=30))
def test_document_paths(batch: list[str]) -> None:
    found = [path for (path,) in evaluate([sql.document_path("x")], batch, pa.string())]
    assert found == [reference.document_path(path) for path in batch]


@given(st.lists(frames, min_size=1, max_size=30))
def test_frame_names(batch: list[tuple[str, int, int]]) -> None:
    rows = evaluate_table(
        [sql.frame_document_path("v", "i", "d"), sql.frame_file_name("v", "i", "d")],
        {
            "v": ([row[0] for row in batch], pa.string(), ""),
            "i": ([row[1] for row in batch], pa.int64(), ""),
            "d": ([row[2] for row in batch], pa.int64(), ""),
        },
    )
    for (video, index, digits), found in zip(batch, rows, strict=True):
        try:
            wanted = (
                reference.frame_document_path(video, index, digits),
                reference.frame_file_name(video, index, digits),
            )
        except ValueError:
            assert found == (None, None)
        else:
            assert found == wanted


@given(batches)
def test_parsed_frames(batch: list[str | None]) -> None:
    rows = evaluate(list(sql.parse_frame("x")), batch, pa.string())
    for target, found in zip(batch, rows, strict=True):
        frame = None if target is None else reference.parse_frame_document(target)
        assert found == (
            (None, None, None) if frame is None else (frame.video_path, frame.index, frame.digits_written)
        )


@given(unicode_text)
def test_literals_hold_any_text(text: str) -> None:
    assert connection().execute(f"SELECT {sql.quote_text(text)}").fetchall() == [(text,)]


@given(unicode_text.filter(lambda text: text and "\0" not in text))
def test_identifiers_hold_any_text(text: str) -> None:
    answer = connection().execute(
        f"SELECT a.{sql.quote_ident(text)} FROM (SELECT 1 AS {sql.quote_ident(text)}) a"
    )
    assert answer.fetchall() == [(1,)]


@given(
    st.lists(names | st.text("aé😀/", max_size=12), min_size=1, max_size=20),
    st.none() | st.integers(1, 30),
    st.none() | st.integers(1, 12),
    st.booleans(),
)
def test_keys_that_are_too_long(
    batch: list[str], key: int | None, name: int | None, in_characters: bool
) -> None:
    limits = KeyLimits(key, name, in_characters)
    rows = evaluate([sql.too_long("x", limits)], batch, pa.string())
    assert [why for (why,) in rows] == [too_long(each, limits) for each in batch]
