"""What cameras and programs write in practice, and what of it is not known."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest

from metaferry.media.facts.images import values
from unit.media.facts.images.making import (
    Entry,
    block,
    chunk,
    exif_segment,
    facts_of,
    jpeg,
    packet,
    png,
    rationals,
    segment,
    short,
    stored,
    text_entry,
    webp,
    xmp_segment,
)

PLACE: dict[int, Entry] = {
    1: text_entry("N"),
    2: rationals((59, 1), (20, 1), (60, 2)),
    3: text_entry("E"),
    4: rationals((18, 1), (3, 1), (0, 1)),
}
KNOWN = {"lat": 59.341666667, "lon": 18.05}


def gps(changed: dict[int, Entry | None]) -> dict[str, Any]:
    """The facts of a JPEG with this place."""
    entries = {tag: entry for tag, entry in (PLACE | changed).items() if entry is not None}
    found = facts_of(jpeg(exif_segment(block(gps=entries))))
    assert found.problems == ()
    return {name: value for name, value in found.values.items() if name in ("lat", "lon", "altitude")}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, KNOWN),
        ({1: text_entry("s"), 3: text_entry("w")}, {"lat": -59.341666667, "lon": -18.05}),
        ({1: None}, {}),  # no reference: never taken for north
        ({3: None}, {}),
        ({1: text_entry("")}, {}),
        ({1: text_entry("E")}, {}),  # a reference of the other axis
        ({2: rationals((0, 0), (0, 0), (0, 0))}, {}),
        ({2: rationals((59, 1), (20, 1), (0, 0))}, {}),  # seconds that are not known
        ({2: rationals((4294967295, 1))}, {}),
        ({2: rationals((91, 1), (0, 1), (0, 1))}, {}),
        ({2: rationals((90, 1), (0, 1), (0, 1))}, {"lat": 90.0, "lon": 18.05}),
        ({2: rationals((59, 1), (61, 1), (0, 1))}, {}),
        ({2: rationals((59, 1))}, {"lat": 59.0, "lon": 18.05}),
        ({2: rationals((54, 1), (5938, 100), (0, 1))}, {"lat": 54.989666667, "lon": 18.05}),
        ({4: rationals((181, 1), (0, 1), (0, 1))}, {}),
        ({2: text_entry("59.34")}, {}),  # the wrong type
        ({2: (12, 1, struct.pack(">d", float("nan")))}, {}),
        ({5: (1, 1, b"\0"), 6: rationals((724, 10))}, KNOWN | {"altitude": 72.4}),
        ({5: (1, 1, b"\1"), 6: rationals((724, 10))}, KNOWN | {"altitude": -72.4}),
        ({5: (11, 1, struct.pack(">f", 1.0)), 6: rationals((724, 10))}, KNOWN | {"altitude": -72.4}),
        ({5: text_entry("1"), 6: rationals((724, 10))}, KNOWN | {"altitude": -72.4}),
        ({6: rationals((724, 10))}, KNOWN | {"altitude": 72.4}),
        ({5: (1, 1, b"\7"), 6: rationals((724, 10))}, KNOWN),
        ({6: rationals((724, 0))}, KNOWN),
    ],
)
def test_a_place_is_known_or_left_out(changed: dict[int, Entry | None], expected: dict[str, Any]) -> None:
    assert gps(changed) == expected


def times(exif: dict[int, Entry], stamp: dict[int, Entry] | None = None) -> tuple[Any, ...]:
    found = facts_of(jpeg(exif_segment(block(exif=exif, gps=stamp)))).values
    return tuple(found.get(name) for name in ("taken", "taken_offset", "taken_utc"))


STAMP = {29: text_entry("2026:03:01"), 7: rationals((23, 1), (59, 1), (5950, 100))}


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2026:03:01 10:20:30", "2026-03-01T10:20:30"),
        ("2026-03-01T10:20:30", "2026-03-01T10:20:30"),
        ("2026/03/01 10:20:30", "2026-03-01T10:20:30"),
        ("2026:03:01 10:20:30.847", "2026-03-01T10:20:30.847"),
        ("0000:00:00 00:00:00", None),
        ("    :  :     :  :  ", None),
        ("1999:99:99 99:99:99", None),
        ("2026:02:30 10:20:30", None),
        ("2026:03:01", None),  # a day is no time
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_local_time_has_no_zone(date: str, expected: str | None) -> None:
    assert times({0x9003: text_entry(date)}) == (expected, None, None)


@pytest.mark.parametrize(
    ("digits", "tail"), [("68", ".68"), ("683670", ".68367"), ("00", ""), ("7  ", ".7"), ("x", ""), ("", "")]
)
def test_subseconds_are_text(digits: str, tail: str) -> None:
    found = times({0x9003: text_entry("2026:03:01 10:20:30"), 0x9291: text_entry(digits)})
    assert found == (f"2026-03-01T10:20:30{tail}", None, None)


@pytest.mark.parametrize(
    ("offset", "known", "utc"),
    [
        ("+02:00", "+02:00", "2026-03-01T08:20:30Z"),
        ("-07:00", "-07:00", "2026-03-01T17:20:30Z"),
        ("+0530", "+05:30", "2026-03-01T04:50:30Z"),
        ("Z", "+00:00", "2026-03-01T10:20:30Z"),
        ("+25:00", None, None),
        ("+02:99", None, None),
        ("   :  ", None, None),
        ("CET", None, None),
    ],
)
def test_utc_comes_from_the_offset(offset: str, known: str | None, utc: str | None) -> None:
    exif = {0x9003: text_entry("2026:03:01 10:20:30"), 0x9011: text_entry(offset)}
    assert times(exif) == ("2026-03-01T10:20:30", known, utc)


def test_utc_comes_from_gps_without_an_offset() -> None:
    exif = {0x9003: text_entry("2026:03:01 10:20:30")}
    assert times(exif, STAMP) == ("2026-03-01T10:20:30", None, "2026-03-01T23:59:59.5Z")
    assert times({}, STAMP) == (None, None, "2026-03-01T23:59:59.5Z")
    assert times({}, STAMP | {29: text_entry("1999:99:99")}) == (None, None, None)
    assert times({}, STAMP | {7: rationals((24, 1), (0, 1), (0, 1))}) == (None, None, None)
    assert times({}, STAMP | {7: rationals((0, 0), (0, 0), (0, 0))}) == (None, None, None)
    both = exif | {0x9011: text_entry("+02:00")}
    assert times(both, STAMP)[2] == "2026-03-01T08:20:30Z"


def test_the_ends_of_time_are_no_error() -> None:
    assert values.utc_of("0001-01-01T00:00:00", "+01:00") is None
    assert values.utc_of("9999-12-31T23:59:59", "-01:00") is None


def test_zeros_of_a_camera_are_not_known() -> None:
    exif = {
        0x829A: rationals((0, 1)),
        0x829D: rationals((0, 0)),
        0x920A: rationals((0, 100)),
        0xA405: short(0),
        0x8827: short(0),
    }
    found = facts_of(jpeg(exif_segment(block({0x0112: short(9), 0x010F: text_entry("   ")}, exif))))
    assert stored(found) == {"format": "jpeg", "width": 40, "height": 30}


def test_a_sensitivity_beyond_its_field_is_in_the_next() -> None:
    exif: dict[int, Entry] = {0x8827: short(65535), 0x8832: (4, 1, struct.pack(">I", 102400))}
    assert facts_of(jpeg(exif_segment(block(exif=exif)))).values["iso"] == 102400


XMP = packet(
    'exif:GPSLatitude="0,4.21601S" exif:GPSLongitude="31,15,22.8E" exif:GPSAltitude="12/10" '
    'exif:GPSAltitudeRef="1" exif:DateTimeOriginal="2026-03-01T10:20:30.5+02:00" exif:FNumber="28/10" '
    'tiff:Orientation="6"',
    "<tiff:Make>Acme</tiff:Make><exif:ISOSpeedRatings><rdf:Seq><rdf:li>400</rdf:li></rdf:Seq>"
    "</exif:ISOSpeedRatings>",
)


def test_xmp_tells_what_no_exif_block_does() -> None:
    for data in (
        jpeg(xmp_segment(XMP)),
        png(before=[chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)]),
        png(before=[chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP))]),
        webp((b"VP8 ", bytes(11)), (b"XMP ", XMP), flags=0x04),
    ):
        found = facts_of(data)
        assert found.problems == ()
        assert (found.values["shown_width"], found.values["shown_height"]) == (30, 40)
        assert {k: v for k, v in stored(found).items() if k != "format"} == {
            "width": 40,
            "height": 30,
            "orientation": 6,
            "taken": "2026-03-01T10:20:30.5",
            "taken_offset": "+02:00",
            "taken_utc": "2026-03-01T08:20:30.5Z",
            "make": "Acme",
            "f_number": 2.8,
            "iso": 400,
            "lat": pytest.approx(-0.070266833),
            "lon": pytest.approx(31.256333333),
            "altitude": -1.2,
        }


def test_a_time_is_of_exif_or_of_xmp_and_never_of_both() -> None:
    exif = exif_segment(block(exif={0x9003: text_entry("2025:01:01 00:00:00")}, gps=PLACE))
    found = facts_of(jpeg(exif, xmp_segment(XMP))).values
    assert [found.get(name) for name in ("taken", "taken_offset", "taken_utc")] == [
        "2025-01-01T00:00:00",
        None,
        None,
    ]
    assert (found["lat"], found["lon"], found["make"]) == (59.341666667, 18.05, "Acme")


def test_the_first_of_two_exif_blocks_counts() -> None:
    first, second = (block({0x010F: text_entry(make)}) for make in ("First", "Second"))
    assert facts_of(jpeg(exif_segment(first), exif_segment(second))).values["make"] == "First"


def test_an_exif_block_goes_on_in_the_next_segment() -> None:
    whole = block({0x010F: text_entry("Acme " + "x" * 400)})
    found = facts_of(jpeg(exif_segment(whole[:100]), exif_segment(whole[100:])))
    assert found.values["make"] == "Acme " + "x" * 400


@pytest.mark.parametrize(
    ("junk", "told"),
    [(b"\xff" * 3_000, False), (b"\0\1\2", True), (b"\xff\0" * 2_000, True), (b"\0" * 1_023, True)],
)
def test_bytes_between_two_segments_are_passed_over(junk: bytes, told: bool) -> None:
    make = exif_segment(block({0x010F: text_entry("Acme")}))
    found = facts_of(jpeg(segment(0xE5, b"x") + junk, make))
    assert (found.values["make"], found.values["width"]) == ("Acme", 40)
    assert found.problems == (("there is no marker at byte 7",) if told else ())


def test_exif_of_every_container() -> None:
    data = block({0x010F: text_entry("Acme"), 0x0100: (3, 1, b"\0\x28"), 0x0101: (3, 1, b"\0\x1e")})
    hexadecimal = b"\nexif\n %d\n" % (len(data) + 6) + (b"Exif\0\0" + data).hex().encode()
    for image in (
        jpeg(exif_segment(data)),
        data,  # a TIFF is nothing else
        png(before=[chunk(b"eXIf", data)]),
        png(after=[chunk(b"eXIf", data)]),
        png(after=[chunk(b"eXIf", data)], pixels=1 << 20),
        png(before=[chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(hexadecimal))]),
        webp((b"VP8 ", bytes(11)), (b"EXIF", data), flags=0x08),
        webp((b"VP8 ", bytes(1 << 20)), (b"EXIF", b"Exif\0\0" + data), flags=0x08),
    ):
        asked: list[tuple[int, int]] = []
        found = facts_of(image, asked)
        assert (found.values["make"], found.values["width"], found.values["height"]) == ("Acme", 40, 30)
        assert found.problems == ()
        assert len(asked) <= 2


def test_a_jpeg_with_long_segments_before_its_size_is_followed() -> None:
    previews = [segment(0xE2, bytes(65_000)) for _ in range(11)]
    asked: list[tuple[int, int]] = []
    found = facts_of(jpeg(*previews), asked)
    assert (found.values["width"], found.values["height"]) == (40, 30)
    assert asked[0] == (0, 65_536)
    assert len(asked) <= 9


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GIF89a" + struct.pack("<HH", 300, 200) + bytes(3), ("gif", 300, 200)),
        (b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 300, -200, 1, 24), ("bmp", 300, 200)),
        (b"BM" + bytes(12) + struct.pack("<IHH", 12, 300, 200), ("bmp", 300, 200)),
        (b"P6\n# made by hand\n300 # wide\n200\n255\n", ("pnm", 300, 200)),
        (b"P4 300 200\n", ("pnm", 300, 200)),
        (
            b"RIFF\0\0\0\0WEBPVP8L\x05\0\0\0\x2f" + struct.pack("<I", 299 | 199 << 14) + bytes(9),
            ("webp", 300, 200),
        ),
        (
            b"RIFF\0\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 300, 200 | 1 << 14),
            ("webp", 300, 200),
        ),
    ],
)
def test_small_containers_tell_their_size(data: bytes, expected: tuple[str, int, int]) -> None:
    found = facts_of(data).values
    assert (found["format"], found["width"], found["height"]) == expected
