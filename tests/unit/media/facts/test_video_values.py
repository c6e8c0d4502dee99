"""The values of headers alone: dates, places, matrices, rates."""

from __future__ import annotations

import datetime
import struct
from array import array
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metaferry.media.facts.videos import codecs, dates, geometry, rates
from metaferry.media.facts.videos.location import iso_6709, of_loci
from metaferry.media.frames.containers.reading import Indexed
from metaferry.media.frames.model import Times
from unit.media.facts.video_files import TURNS

UTC = datetime.UTC


def date(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, None),  # unset
        (3_570_596_428, date(2017, 2, 22, 8, 20, 28)),
        (1_487_751_628, None),  # seconds since 1970 by mistake: 1951
        (3600, None),  # a clock that was never set
        (1 << 63, None),
        (5_000_000_000_000_000, None),  # microseconds by mistake
    ],
)
def test_a_date_counts_from_1904(seconds: int, expected: datetime.datetime | None) -> None:
    assert dates.since_1904(seconds) == expected


def test_a_date_of_matroska_counts_from_2001() -> None:
    assert dates.since_2001(86_400_000_000_000) == date(2001, 1, 2)
    assert dates.since_2001(-(1 << 63)) is None


@pytest.mark.parametrize(
    ("text", "taken", "utc"),
    [
        ("2014-12-19T07:39:06+0700", (2014, 12, 19, 7, 39, 6), (2014, 12, 19, 0, 39, 6)),
        ("2014-12-19T00:39:06Z", (2014, 12, 19, 0, 39, 6), (2014, 12, 19, 0, 39, 6)),
        (
            "2014-12-19 07:39:06.25-03:30",
            (2014, 12, 19, 7, 39, 6, 250_000),
            (2014, 12, 19, 11, 9, 6, 250_000),
        ),
        ("2014-12-19T07:39:06", (2014, 12, 19, 7, 39, 6), None),
        ("2014-13-19T07:39:06Z", None, None),
        ("0001-01-01T00:00:00+1200", None, None),
        ("2014", None, None),
        ("", None, None),
    ],
)
def test_a_text_has_an_instant_only_with_a_zone(
    text: str, taken: tuple[int, ...] | None, utc: tuple[int, ...] | None
) -> None:
    local = None if taken is None else date(*taken).replace(tzinfo=None)
    assert dates.with_zone(text) == (local, None if utc is None else date(*utc))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon Mar 10 15:04:43 2003\n\0", (2003, 3, 10, 15, 4, 43)),
        ("2005:08:17 11:42:43", (2005, 8, 17, 11, 42, 43)),
        ("2005/08/17 11:42", (2005, 8, 17, 11, 42)),
        ("Mon Foo 10 15:04:43 2003", None),
        ("2005/02/30 11:42", None),
        ("yesterday", None),
    ],
)
def test_the_date_of_a_camera_in_an_avi(text: str, expected: tuple[int, ...] | None) -> None:
    local = None if expected is None else date(*expected).replace(tzinfo=None)
    assert dates.of_avi(text) == local


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+51.4169-000.0806/", (51.4169, -0.0806, None)),
        ("+37.3349-122.0090+012.500/", (37.3349, -122.009, 12.5)),
        ("-3730.00+14530.0CRSWGS_84/", (-37.5, 145.5, None)),
        ("+404700.0-0735800.0/", (40.78333333333333, -73.96666666666667, None)),
        ("+90.0000+180.0000", (90.0, 180.0, None)),
        ("+91.0000+000.0000/", None),
        ("+48.0000+181.0000/", None),
        ("+4861.0000+00100.0000/", None),  # 61 minutes
        ("51.4169,-0.0806", None),
        ("+51.4169/", None),
        ("+5.1-0.1/", None),
        ("+" + "1" * 300, None),
    ],
)
def test_a_place_as_text(text: str, expected: tuple[float, float, float | None] | None) -> None:
    found = iso_6709(text)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_place_of_3gpp() -> None:
    numbers = struct.pack(">B3i", 0, int(-0.0806 * 65536), int(51.4169 * 65536), 12 << 16)
    for name in (b"London\0", "\ufeffLondon\0".encode("utf-16-be")):
        found = of_loci(bytes(4) + b"\x15\xc7" + name + numbers + b"earth\0\0")
        assert found == pytest.approx((51.4169, -0.0806, 12.0), abs=1e-4)
    assert of_loci(bytes(6) + b"no end of the name") is None
    assert of_loci(bytes(6) + b"\0" + struct.pack(">B3i", 0, 181 << 16, 0, 0)) is None
    assert of_loci(b"") is None


@given(st.sampled_from(sorted(TURNS)), st.booleans(), st.integers(1, 1 << 20))
def test_every_turn_by_quarters_is_known(degrees: int, mirrored: bool, scale: int) -> None:
    a, b, c, d = TURNS[degrees]
    if mirrored:
        a, b = -a, -b
    matrix = (a * scale, b * scale, c * scale, d * scale)
    assert geometry.turn_of(matrix) == geometry.Turn(degrees, mirrored)
    for then in TURNS:
        turn = geometry.turn_of(geometry.product(matrix, TURNS[then]))
        assert turn == geometry.Turn((degrees + then) % 360, mirrored)


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (46341, 46341, -46341, 46341), (1, 0, 0, 0), (1, 0, 1, 1)])
def test_any_other_matrix_is_unknown(matrix: geometry.Matrix) -> None:
    assert geometry.turn_of(matrix) is None
    assert geometry.shown(4, 3, geometry.turn_of(matrix)) == (None, None)


def test_what_rounding_leaves_in_a_matrix_is_no_skew() -> None:
    assert geometry.turn_of((-2, 65536, -65536, 3)) == geometry.Turn(90, mirrored=False)


@given(st.integers(2, 400), st.fractions(1, 240, max_denominator=1001), st.sampled_from([600, 1000, 90_000]))
def test_a_constant_rate_that_is_rounded_to_ticks_is_no_variable_one(
    frames: int, fps: Fraction, scale: int
) -> None:
    assume(scale / fps >= 5)
    ticks = array("q", [round(index * scale / fps) for index in range(frames)])
    assert rates.is_variable(Times(Fraction(1, scale), ticks)) is False


def test_a_frame_that_comes_late_makes_the_rate_variable() -> None:
    assert rates.is_variable(Times(Fraction(1, 1000), array("q", [0, 40, 80, 122, 160]))) is True
    assert rates.is_variable(Times(Fraction(1, 1000), array("q", [0, 40, 80, 121, 160]))) is False
    assert rates.is_variable(Times(Fraction(1, 25), array("q", [0, 1, 2, 3]))) is False
    assert rates.is_variable(Times(Fraction(1, 25), array("q", [0, 1, 3, 4]))) is True
    assert rates.is_variable(Times(Fraction(1, 1000), array("q", [7]))) is None
    assert rates.is_variable(Times(Fraction(1, 1000), array("q"))) is None


def test_a_last_frame_without_a_length_has_that_of_the_others() -> None:
    times = Times(Fraction(1, 25), array("q", [0, 1, 2, 3]))
    assert rates.duration_of(Indexed(4, times=times, duration=Fraction(3, 25))) == Fraction(4, 25)
    assert rates.duration_of(Indexed(4, times=times, duration=Fraction(7, 25))) == Fraction(7, 25)
    assert rates.duration_of(Indexed(0)) is None


def test_a_codec_has_a_name_only_by_a_mark_that_is_known() -> None:
    assert codecs.of_fourcc("avc1") == codecs.of_fourcc("X264") == "h264"
    assert codecs.of_fourcc("rle ") == "qtrle"
    assert codecs.of_fourcc("ABCD") is None
    assert codecs.of_object_type(0x61) == "mpeg2video"
    assert codecs.of_matroska("V_MS/VFW/FOURCC", bytes(16) + b"XVID") == "mpeg4"
    assert codecs.of_matroska("V_MS/VFW/FOURCC", b"") is None
