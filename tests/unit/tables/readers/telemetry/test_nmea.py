"""The reader of NMEA logs: real logs, what each sentence says, days, and bytes that are no sentence."""

from __future__ import annotations

import datetime
import gzip
import os
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.job.readers.telemetry import Telemetry
from metaferry.tables.readers.telemetry.nmea import epochs, reader
from metaferry.tables.readers.telemetry.nmea.epochs import Days, Epoch
from metaferry.tables.readers.telemetry.nmea.lines import sentences_in
from metaferry.tables.readers.telemetry.nmea.reader import NmeaReader
from metaferry.tables.readers.testing import check_damaged, check_reader
from unit.tables.readers.reading import Read, read

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[6] / "shared/samples")) / "nmea"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there are no sample files in {SAMPLES}")
SECOND = 10**9
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
MAY = 20_574 * DAY  # 2026-05-01T00:00:00Z


def marked(body: str) -> str:
    """A sentence with its checksum."""
    return f"${body}*{reduce(lambda a, b: a ^ b, body.encode()):02X}\r\n"


def rmc(
    clock: str, day: str = "010526", status: str = "A", talker: str = "GN", more: str = "10.0,90.0"
) -> str:
    return marked(f"{talker}RMC,{clock},{status},4830.0,N,01130.0,E,{more},{day},,,A")


def gga(clock: str, quality: int = 4, talker: str = "GN") -> str:
    return marked(f"{talker}GGA,{clock},4830.0,N,01130.0,E,{quality},12,0.47,419.1,M,47.5,M,,")


def read_log(tmp_path: Path, text: str | bytes, name: str = "a.nmea", **more: Any) -> Read:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(NmeaReader(), path, **more)


def codes(found: Read) -> list[Code]:
    return [note.code for note in found.notes]


# -- real logs


@needs_samples
@pytest.mark.parametrize(
    ("name", "samples", "rejects", "noted"),
    [
        ("Geotag2.log", 3, 0, []),
        ("nmea.log", 120, 0, []),
        ("pygpsdata-BADHDR.log", 2, 0, []),
        ("pygpsdata-nmea4.log", 1, 0, []),
        ("pygpsdata-nmeastartup.log", 0, 0, [Code.TELEMETRY_NO_FIX]),
    ],
)
def test_real_logs_are_known_and_read_whole(name: str, samples: int, rejects: int, noted: list[Code]) -> None:
    assert NmeaReader().recognises((SAMPLES / name).read_bytes(), [name])
    found = read(NmeaReader(), SAMPLES / name)
    assert (len(found.samples), len(found.rejects), codes(found)) == (samples, rejects, noted)


@needs_samples
def test_real_samples_as_they_stand() -> None:
    assert read(NmeaReader(), SAMPLES / "nmea.log").samples[1] == {
        "@": 3,
        "time": 1_587_374_742_500_000_000,  # 2020-04-20T09:25:42.5Z
        "lat": 48 + 46.4008639 / 60,
        "lon": 8 + 54.7249134 / 60,
        "ele": 419.164,
        "speed_mps": 0.017 * 1852 / 3600,
        "hdop": 0.47,
        "sats": 12,
        "fix": "rtk",
        "talker": "GN",
    }


@needs_samples
def test_nmea_keeps_the_contract() -> None:
    for path in sorted(SAMPLES.glob("*.log")):
        check_reader(NmeaReader(), Telemetry(url=str(path)))


@needs_samples
def test_damaged_logs_raise_errors_of_ours_alone(tmp_path: Path) -> None:
    check_damaged(NmeaReader(), SAMPLES / "pygpsdata-nmea4.log", tmp_path)


# -- sentences of one time


def test_sentences_of_one_time_are_one_sample(tmp_path: Path) -> None:
    text = (
        rmc("120000.00", more=",")
        + gga("120000.00")
        + marked("GNVTG,91.5,T,,M,10.0,N,18.52,K,A")
        + marked("GPHDT,88.5,T")
        + marked("GNGLL,4830.0,N,01130.0,E,120000.00,A,A")
        + rmc("120001.00")
    )
    first, second = read_log(tmp_path, text).samples
    assert first == {
        "@": 1,
        "time": MAY + 12 * HOUR,
        "lat": 48.5,
        "lon": 11.5,
        "ele": 419.1,
        "speed_mps": 10 * 1852 / 3600,
        "heading": 91.5,
        "true_heading": 88.5,
        "hdop": 0.47,
        "sats": 12,
        "fix": "rtk",
        "talker": "GN",
    }
    assert (second["@"], second["heading"]) == (6, 90.0)


def test_the_order_within_a_time_does_not_matter(tmp_path: Path) -> None:
    parts = [marked("GNVTG,91.5,T,,M,,N,18.0,K,A"), gga("120000"), rmc("120000", more=",")]
    later = [marked("GNVTG,92.5,T,,M,,N,36.0,K,A"), gga("120001"), rmc("120001", more=",")]
    found = read_log(tmp_path, "".join([*parts, *later]))
    assert [(row["time"], row["heading"], row["speed_mps"]) for row in found.samples] == [
        (MAY + 12 * HOUR, 91.5, 5.0),
        (MAY + 12 * HOUR + SECOND, 92.5, 10.0),
    ]


def test_several_samples_of_one_whole_second_stay_several(tmp_path: Path) -> None:
    found = read_log(tmp_path, (rmc("120000") + gga("120000")) * 3)
    assert [(row["@"], row["time"]) for row in found.samples] == [(at, MAY + 12 * HOUR) for at in (1, 3, 5)]


@pytest.mark.parametrize(
    "text",
    [
        rmc("120000", status="V"),
        gga("120000", quality=0),
        rmc("120000") + gga("120000", quality=0),
        marked("GNGNS,120000,4830.0,N,01130.0,E,NN,06,5.88,56.0,48.5,,"),
        marked("GNGLL,4830.0,N,01130.0,E,120000.00,V,N"),
        marked("GNRMC,120000,A,4830.0,N,01130.0,E,,,010526,,,N"),
        marked("GNRMC,,V,,,,,,,,,,N,V") + marked("GNGGA,,,,,,0,00,99.99,,,,,,"),
    ],
)
def test_what_the_receiver_marks_as_invalid_is_counted_and_no_sample(tmp_path: Path, text: str) -> None:
    found = read_log(tmp_path, text)
    assert (found.samples, found.rejects, codes(found)) == ([], [], [Code.TELEMETRY_NO_FIX])
    assert found.notes[0].message.startswith("1 sample that")


def test_a_position_of_zeros_is_left_out(tmp_path: Path) -> None:
    found = read_log(tmp_path, marked("GPRMC,120000,A,0000.0,N,00000.0,E,,,010526,,,A"))
    assert found.samples == [{"@": 1, "time": MAY + 12 * HOUR, "talker": "GP"}]
    assert codes(found) == [Code.TELEMETRY_NO_POSITION]


def test_south_and_west_are_negative(tmp_path: Path) -> None:
    (row,) = read_log(tmp_path, marked("GPRMC,120000,A,4830.0,S,01130.0,W,,,010526,,,A")).samples
    assert (row["lat"], row["lon"]) == (-48.5, -11.5)


# -- days


def test_time_of_day_goes_on_over_midnight(tmp_path: Path) -> None:
    found = read_log(tmp_path, rmc("235959") + gga("235959.5") + gga("000000.5") + rmc("000001", "020526"))
    expected = [MAY + DAY - SECOND, MAY + DAY - SECOND // 2, MAY + DAY + SECOND // 2, MAY + DAY + SECOND]
    assert [row["time"] for row in found.samples] == expected


def test_samples_before_the_first_day_have_it_counted_back(tmp_path: Path) -> None:
    found = read_log(tmp_path, gga("235958") + gga("235959") + gga("000000") + rmc("000001"))
    expected = [MAY - 2 * SECOND, MAY - SECOND, MAY, MAY + SECOND]
    assert [row["time"] for row in found.samples] == expected


def test_zda_says_the_day_and_is_no_sample_alone(tmp_path: Path) -> None:
    text = marked("GPZDA,115959.00,01,05,2026,00,00") + gga("120000")
    assert [(row["@"], row["time"]) for row in read_log(tmp_path, text).samples] == [(2, MAY + 12 * HOUR)]


def test_a_log_without_a_day_has_elapsed_time_and_says_so(tmp_path: Path) -> None:
    text = gga("235959") + gga("000001")
    found = read_log(tmp_path, text)
    assert [row["elapsed_ns"] for row in found.samples] == [DAY - SECOND, DAY + SECOND]
    assert all("time" not in row and "local_time" not in row for row in found.samples)
    assert codes(found) == [Code.TELEMETRY_UNDATED]
    dated = read_log(tmp_path, text, date=datetime.date(2026, 5, 1))
    assert [row["time"] for row in dated.samples] == [MAY + DAY - SECOND, MAY + DAY + SECOND]
    assert codes(dated) == []


def test_what_waits_for_a_day_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "MOST_WAITING", 3)
    found = read_log(tmp_path, "".join(gga(f"12000{at}") for at in range(5)) + rmc("120005"))
    assert [row.get("elapsed_ns") for row in found.samples] == [
        12 * HOUR + at * SECOND for at in range(5)
    ] + [None]
    assert found.samples[-1]["time"] == MAY + 12 * HOUR + 5 * SECOND
    assert codes(found) == [Code.TELEMETRY_UNDATED]


@given(st.lists(st.integers(0, DAY // 2 - 1), max_size=30), st.integers(0, DAY), st.integers(0, 30))
def test_days_are_those_of_a_clock_that_goes_on(steps: list[int], start: int, dated: int) -> None:
    """Whichever sentence says the day: each step is shorter than half a day."""
    times = [MAY + start]
    for step in steps:
        times.append(times[-1] + step)
    made = Days(None)
    found = []
    for at, ns in enumerate(times):
        day = ns // DAY if at == min(dated, len(times) - 1) else None
        found += list(made.add(Epoch(at, ns % DAY, day, has_fix=True)))
    found += list(made.end())
    assert [(one.epoch.line, one.ns) for one in found] == list(enumerate(times))


# -- bytes


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (rmc("120001").replace("4830", "4831"), "the checksum of the sentence is wrong"),
        ("$GNRMC,120001,A,4830.0,N,01130.0,E,,,010526\r\n", "has no checksum, and others before it have"),
        (rmc("250000"), "the time is '250000': no clock shows that"),
        (rmc("12"), "the time is '12': HHMMSS is expected"),
        (rmc("120001", "310226"), "the date is '310226': no calendar has that day"),
        (rmc("120001", "1526"), "the date is '1526', where DDMMYY is expected"),
        (
            marked("GNRMC,120001,A,9930.0,N,01130.0,E,,,010526,,,A"),
            "lat is 99.5, beyond 90 degrees; lat and lon look swapped",
        ),
        (
            marked("GNRMC,120001,A,4861.0,N,01130.0,E,,,010526,,,A"),
            "lat is '4861.0 N', and no degrees and minutes",
        ),
        (
            marked("GNRMC,120001,A,4830.0,E,01130.0,N,,,010526,,,A"),
            "lat is '4830.0 E', and no degrees and minutes",
        ),
        (marked("GNRMC,120001,A,4830.0,N,01130.0,E,fast,,010526,,,A"), "speed_mps is 'fast', and no number"),
        (marked("GNRMC,,A,4830.0,N,01130.0,E,,,010526,,,A"), "the sentence says no time"),
        (marked("GNZDA,120001,32,05,2026,00,00"), "the date is '2026-05-32': no calendar has that day"),
    ],
)
def test_a_sentence_that_is_none_is_named_and_the_others_are_read(tmp_path: Path, bad: str, why: str) -> None:
    found = read_log(tmp_path, rmc("120000") + bad + rmc("120002"))
    assert [row["@"] for row in found.samples] == [1, 3]
    ((relation, line, message),) = found.rejects
    assert (relation, line) == ("samples", 2)
    assert message.endswith(why)


def test_binary_messages_between_are_passed_over(tmp_path: Path) -> None:
    ubx = b"\xb5\x62\x01\x07\x5c\x00$GN\n\x00\xff\xfe$"
    text = ubx + rmc("120000").encode() + ubx + b"2026-05-01 14:00:01 " + rmc("120001").encode() + ubx * 1000
    found = read_log(tmp_path, text)
    assert ([row["@"] for row in found.samples], found.rejects) == ([2, 4], [])


def test_a_sentence_that_another_one_cuts_is_named(tmp_path: Path) -> None:
    found = read_log(tmp_path, rmc("120000") + rmc("120001")[:30] + rmc("120002"))
    assert ([row["@"] for row in found.samples], [place for _, place, _ in found.rejects]) == ([1, 2], [2])


def test_a_log_that_is_cut_keeps_what_came_before(tmp_path: Path) -> None:
    found = read_log(tmp_path, rmc("120000") + rmc("120001")[:30])
    assert (len(found.samples), codes(found)) == (1, [Code.SOURCE_CUT])


def test_checksums_may_be_left_out_by_all(tmp_path: Path) -> None:
    found = read_log(tmp_path, "$GPRMC,120000,A,4830.0,N,01130.0,E,,,010526\n" * 2)
    assert (len(found.samples), found.rejects) == (2, [])


def test_a_line_without_an_end_takes_bounded_memory() -> None:
    blocks = (b"$GNRMC," + b"\0" * (1 << 20) for _ in range(64))
    longest = max((len(one.text) for one in sentences_in(blocks)), default=0)
    assert longest <= 3 << 20


@given(st.binary(max_size=300), st.integers(1, 40))
def test_sentences_do_not_depend_on_how_bytes_are_cut(noise: bytes, size: int) -> None:
    data = noise + b"\n" + rmc("120000").encode() + gga("120001").encode() + noise
    blocks = (data[at : at + size] for at in range(0, len(data), size))
    assert list(sentences_in(blocks)) == list(sentences_in(iter([data])))


@pytest.mark.parametrize(
    ("data", "name", "why"),
    [
        (rmc("120000").encode("utf-16"), "a.nmea", "is UTF-16-LE, and this format is UTF-8"),
        (gzip.compress(rmc("120000").encode() * 50_000)[:-20_00], "a.nmea.gz", "a.nmea.gz"),
    ],
)
def test_a_file_that_is_none_is_one_error(tmp_path: Path, data: bytes, name: str, why: str) -> None:
    with pytest.raises(JobError, match=why):
        read_log(tmp_path, data, name)


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "find_spec", lambda name: None)
    with pytest.raises(JobError) as caught:
        read_log(tmp_path, rmc("120000"))
    assert caught.value.advice == "pip install 'metaferry[telemetry]'"
