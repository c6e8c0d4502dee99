"""The reader of GPX: real files, points that are no samples, and files that are none."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.job.readers.telemetry import Telemetry
from metaferry.tables.readers.telemetry.gpx import GpxReader
from metaferry.tables.readers.testing import check_damaged, check_reader
from unit.tables.readers.reading import Read, read

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[6] / "shared/samples")) / "gpx"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there are no sample files in {SAMPLES}")
SECOND = 10**9
NOON = 1_777_636_800 * SECOND  # 2026-05-01T12:00:00Z


def document(points: str, head: str = '<?xml version="1.0"?>') -> str:
    return f"{head}<gpx><trk><trkseg>{points}</trkseg></trk></gpx>"


def read_gpx(tmp_path: Path, text: str | bytes, name: str = "a.gpx") -> Read:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(GpxReader(), path)


def fault(tmp_path: Path, text: str | bytes, name: str = "a.gpx") -> str:
    with pytest.raises(JobError) as caught:
        read_gpx(tmp_path, text, name)
    return str(caught.value)


def codes(found: Read) -> list[Code]:
    return [note.code for note in found.notes]


# -- real files


@needs_samples
@pytest.mark.parametrize(
    ("name", "samples", "rejects", "noted"),
    [
        ("Geotag.gpx", 9, 0, []),
        ("Mojstrovka.gpx", 0, 184, []),  # a clock that says 1901
        ("cerknicko-without-times.gpx", 5, 291, [Code.TELEMETRY_UNTIMED]),
        ("gpx1.0_with_all_fields.gpx", 3, 0, [Code.TELEMETRY_UNTIMED]),
        ("gpx_with_garmin_extension.gpx", 1, 0, []),
        ("karma.gpx", 11, 0, []),
        ("track-with-less-sec-time.gpx", 2, 0, []),
        ("unicode_with_bom.gpx", 1, 0, []),
    ],
)
def test_real_files_are_known_and_read_whole(
    name: str, samples: int, rejects: int, noted: list[Code]
) -> None:
    assert GpxReader().recognises((SAMPLES / name).read_bytes().removeprefix(b"\xef\xbb\xbf"), [name])
    found = read(GpxReader(), SAMPLES / name)
    assert (len(found.samples), len(found.rejects), codes(found)) == (samples, rejects, noted)


@needs_samples
def test_real_points_as_they_stand() -> None:
    assert read(GpxReader(), SAMPLES / "Geotag.gpx").samples[0] == {
        "@": 12,
        "time": 1_053_796_205 * SECOND,
        "lat": 43.641,
        "lon": -116.062231,
        "ele": 1472.396484,
        "kind": "track",
        "track": 1,
        "segment": 1,
    }
    garmin = read(GpxReader(), SAMPLES / "gpx_with_garmin_extension.gpx").samples[0]
    assert (garmin["kind"], garmin["heart_rate"], garmin["ele"]) == ("waypoint", 171.0, 3.4)
    own = read(GpxReader(), SAMPLES / "unicode_with_bom.gpx").samples[0]
    assert (own["time"], own["extensions"]) == (1_464_343_727_800_000_000, '{"security":"Open"}')
    assert (own["sats"], own["hdop"], own["vdop"], own["pdop"]) == (4, 16.2, 9.3, 18.7)


@needs_samples
def test_a_time_without_a_zone_is_never_one_in_utc() -> None:
    waypoint, of_route, of_track = read(GpxReader(), SAMPLES / "gpx1.0_with_all_fields.gpx").samples
    assert (waypoint["kind"], waypoint["time"]) == ("waypoint", 1_357_092_180 * SECOND)
    assert (of_route["kind"], of_route["time"]) == ("route", 1_357_092_183 * SECOND)
    assert of_track["local_time"] == 1_357_041_604 * SECOND
    assert "time" not in of_track


@needs_samples
def test_a_zone_counts_as_it_is() -> None:
    first, second = read(GpxReader(), SAMPLES / "track-with-less-sec-time.gpx").samples
    assert (first["time"], second["time"]) == (1_449_844_993_000_000_000, 1_449_844_993_994_000_000)


@needs_samples
def test_a_clock_that_was_never_set_is_named_with_its_line() -> None:
    found = read(GpxReader(), SAMPLES / "Mojstrovka.gpx")
    assert found.rejects[0] == (
        "samples",
        12,
        "the time is '1901-12-13T20:45:52.2073437Z', before there was GPS: the clock of the device was not "
        "set",
    )


@needs_samples
def test_gpx_keeps_the_contract() -> None:
    for path in sorted(SAMPLES.glob("*.gpx")):
        check_reader(GpxReader(), Telemetry(url=str(path)))


@needs_samples
def test_damaged_files_raise_errors_of_ours_alone(tmp_path: Path) -> None:
    check_damaged(GpxReader(), SAMPLES / "karma.gpx", tmp_path)


# -- points


def test_all_that_a_point_says_has_a_column(tmp_path: Path) -> None:
    point = """
<trkpt lat="1" lon="-2"><ele>NaN</ele><time>2026-05-01T12:00:00.1234567891+02:00</time><fix>3d</fix>
<extensions><power>250</power><x:TrackPointExtension><x:speed>1.5</x:speed><x:course>90</x:course>
<x:hr>60</x:hr><x:cad>80</x:cad><x:atemp>-3.5</x:atemp><x:depth>007</x:depth></x:TrackPointExtension></extensions>
<link href="x"><text>not of an extension</text></link></trkpt>"""
    assert read_gpx(tmp_path, document(point)).samples == [
        {
            "@": 2,
            "time": NOON - 7200 * SECOND + 123_456_789,
            "lat": 1.0,
            "lon": -2.0,
            "speed_mps": 1.5,
            "heading": 90.0,
            "heart_rate": 60.0,
            "cadence": 80.0,
            "temperature": -3.5,
            "fix": "3d",
            "kind": "track",
            "track": 1,
            "segment": 1,
            "extensions": '{"power":250,"depth":"007"}',
        }
    ]


@pytest.mark.parametrize(
    ("point", "why"),
    [
        ('lat="1" lon="2"><ele>1</ele>', "the point has no time"),
        ('lat="1" lon="2"><time>yesterday</time>', "the time is 'yesterday', and no time of ISO 8601"),
        ('lat="1" lon="2"><time>2026-02-30T00:00:00Z</time>', "no calendar has that day"),
        ('lat="1" lon="2"><time>2026-05-01T24:00:01Z</time>', "no clock shows that"),
        ('lat="1" lon="2"><time>2026-05-01T00:00:00+99:00</time>', "there is no such zone"),
        ('lat="1" lon="2"><time>0000-00-00T00:00:00Z</time>', "no calendar has that day"),
        ('lat="1" lon="2"><time>2262-12-31T00:00:00Z</time>', "times are known up to 2262"),
        ('lat="1" lon="2"><time>1970-01-01T00:00:01Z</time>', "the clock of the device was not set"),
        ('lat="x" lon="2"><time>2026-05-01T12:00:00Z</time>', "lat is 'x', and no number"),
        ('lon="2"><time>2026-05-01T12:00:00Z</time>', "the point has no lat"),
        ('lat="116.1" lon="43"><time>2026-05-01T12:00:00Z</time>', "lat and lon look swapped"),
        ('lat="991" lon="43"><time>2026-05-01T12:00:00Z</time>', "lat is 991, beyond 90 degrees"),
        ('lat="1" lon="181"><time>2026-05-01T12:00:00Z</time>', "lon is 181, beyond 180 degrees"),
        ('lat="1" lon="2"><time>2026-05-01T12:00:00Z</time><sat>1e99</sat>', "and no whole number"),
        ('lat="1" lon="2"><time>2026-05-01T12:00:00Z</time><hdop>1_0</hdop>', "hdop is '1_0', and no number"),
    ],
)
def test_a_point_that_is_no_sample_is_named_and_the_others_are_read(
    tmp_path: Path, point: str, why: str
) -> None:
    good = '<trkpt lat="1" lon="2"><time>2026-05-01T12:00:00Z</time></trkpt>'
    found = read_gpx(tmp_path, document(f"{good}\n<trkpt {point}</trkpt>\n{good}"))
    assert [row["@"] for row in found.samples] == [1, 3]
    ((relation, line, message),) = found.rejects
    assert (relation, line) == ("samples", 2)
    assert message.endswith(why)


@pytest.mark.parametrize(
    ("point", "code", "row"),
    [
        ('lat="0.0" lon="0"', Code.TELEMETRY_NO_POSITION, {"time": NOON}),
        ('lat="nan" lon="nan"', Code.TELEMETRY_NO_POSITION, {"time": NOON}),
        ('lat="0.0" lon="10"', None, {"time": NOON, "lat": 0.0, "lon": 10.0}),
    ],
)
def test_a_position_that_is_none_is_left_out_and_counted(
    tmp_path: Path, point: str, code: Code | None, row: dict[str, Any]
) -> None:
    found = read_gpx(tmp_path, document(f"<trkpt {point}><time>2026-05-01T12:00:00Z</time></trkpt>"))
    assert found.samples == [{"@": 1, "kind": "track", "track": 1, "segment": 1, **row}]
    assert codes(found) == ([code] if code else [])


def test_a_point_without_a_fix_is_no_sample(tmp_path: Path) -> None:
    point = '<trkpt lat="1" lon="2"><time>2026-05-01T12:00:00Z</time><fix>none</fix></trkpt>'
    found = read_gpx(tmp_path, document(point * 2))
    assert (found.samples, found.rejects, codes(found)) == ([], [], [Code.TELEMETRY_NO_FIX])
    assert found.notes[0].message.startswith("2 samples that the device itself marks as invalid")


def test_names_of_extensions_that_differ_in_case_are_one(tmp_path: Path) -> None:
    points = "".join(
        f'<trkpt lat="1" lon="2"><time>2026-05-01T12:00:00Z</time><extensions><{name}>1</{name}></extensions>'
        "</trkpt>"
        for name in ("Power", "power")
    )
    found = read_gpx(tmp_path, document(points)).samples
    assert [row["extensions"] for row in found] == ['{"Power":1}', '{"Power":1}']


# -- files


def test_a_file_that_is_cut_keeps_what_came_before(tmp_path: Path) -> None:
    point = '<trkpt lat="1" lon="2"><time>2026-05-01T12:00:00Z</time></trkpt>'
    whole = document(point * 3)
    found = read_gpx(tmp_path, whole[: whole.rindex("<time>")])
    assert (len(found.samples), codes(found)) == (2, [Code.SOURCE_CUT])
    assert "is not valid XML" in found.notes[0].message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (document("<trkpt lat='1' lon='2'></wpt>"), "mismatched tag (line 1)"),
        ("<html></html>", "begins with <html>, and GPX with <gpx>"),
        ("", "no element found"),
        ("<kml><a>", "begins with <kml>"),
        (
            document("", '<?xml version="1.0"?><!DOCTYPE gpx [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>'),
            "has a document type (line 1)",
        ),
        (document("<a>" * 100_000), "has more than 64 levels of elements"),
        (document("").encode("utf-16"), "is UTF-16-LE, and this format is UTF-8"),
        ('<gpx><trk a="' + "x" * (65 << 20), "has a tag of more than 64 MiB"),
    ],
)
def test_a_file_that_is_none_is_one_error(tmp_path: Path, text: str | bytes, why: str) -> None:
    message = fault(tmp_path, text)
    assert message.startswith("tables.t.annotations: ")
    assert "a.gpx" in message
    assert why in message


def test_a_packed_file_that_is_cut_is_one_error(tmp_path: Path) -> None:
    packed = gzip.compress(document("".join(map(str, range(100_000)))).encode())
    assert "a.gpx.gz" in fault(tmp_path, packed[: len(packed) // 2], "a.gpx.gz")
