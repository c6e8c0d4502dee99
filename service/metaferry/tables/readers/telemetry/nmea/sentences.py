"""What one sentence says, as values: pynmea2 knows the fields of each type, their text is checked here.

Units of NMEA 0183: degrees and minutes in one number, knots, metres. Raises Bad for what is no sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import shown
from metaferry.tables.readers.telemetry.times import clock_ns, days_since_1970
from metaferry.tables.readers.telemetry.values import check_position, number_in, whole_in

#: Metres a second of a knot, and of a kilometre an hour.
KNOT: Final = 1852 / 3600
KMH: Final = 1 / 3.6
_CLOCK: Final = re.compile(r"(\d\d)(\d\d)(\d\d)(?:\.(\d*))?", re.ASCII)
_DAY: Final = re.compile(r"(\d\d)(\d\d)(\d\d)", re.ASCII)
_DEGREES: Final = re.compile(r"(\d{1,3})(\d\d(?:\.\d*)?)", re.ASCII)
_CHECKSUM: Final = re.compile(rb"\*[0-9A-F]{2}\s*\Z", re.IGNORECASE)
#: What the number of GGA means (NMEA 0183, "GPS quality indicator").
_QUALITIES: Final = {
    1: "gps",
    2: "dgps",
    3: "pps",
    4: "rtk",
    5: "rtk_float",
    6: "estimated",
    7: "manual",
    8: "simulator",
}


@dataclass(slots=True)
class Sentence:
    """`clock` is nanoseconds since midnight (UTC), `day` days since 1970; None where it does not say them.

    `is_valid` is None where the type does not say it.
    """

    type: str
    talker: str
    clock: int | None = None
    day: int | None = None
    is_valid: bool | None = None
    values: dict[str, Any] = field(default_factory=dict)


def has_checksum(text: bytes) -> bool:
    """Whether a sentence ends with a checksum."""
    return _CHECKSUM.search(text) is not None


def sentence_of(text: bytes) -> Sentence:
    """What a sentence says. Raises Bad."""
    import pynmea2

    try:
        line = text.decode("ascii").strip()
    except UnicodeDecodeError:
        raise Bad("the sentence holds bytes that are no text", "", shown(text)) from None
    try:
        found = pynmea2.parse(line)
    except pynmea2.ChecksumError:
        raise Bad("the checksum of the sentence is wrong", "", line) from None
    except ValueError:
        raise Bad("it is no sentence of NMEA 0183", "", line) from None
    fields = _Fields(found)
    sentence = Sentence(found.sentence_type, found.talker)
    _READ[found.sentence_type](sentence, fields)
    if sentence.is_valid and sentence.clock is None:
        raise Bad("the sentence says no time", "time", line)
    return sentence


class _Fields:
    """The fields of a sentence by the names that pynmea2 gives them, as they stand."""

    def __init__(self, found: Any) -> None:
        self._names = type(found).name_to_idx
        self._data = found.data

    def __getitem__(self, name: str) -> str:
        at = self._names[name]
        return str(self._data[at]).strip() if at < len(self._data) else ""


def _rmc(sentence: Sentence, fields: _Fields) -> None:
    _clock(sentence, fields)
    # Receivers before NMEA 2.3 have no mode.
    sentence.is_valid = fields["status"] == "A" and fields["mode_indicator"] != "N"
    if not sentence.is_valid:
        return
    day = fields["datestamp"]
    if day:
        found = _DAY.fullmatch(day)
        if found is None:
            raise Bad(f"the date is {shown(day)}, where DDMMYY is expected", "time", day, "DDMMYY")
        year = int(found[3])
        sentence.day = _day(year + (1900 if year >= 80 else 2000), int(found[2]), int(found[1]), day)
    _position(sentence, fields)
    _put(sentence, "speed_mps", fields["spd_over_grnd"], KNOT)
    _put(sentence, "heading", fields["true_course"])


def _gga(sentence: Sentence, fields: _Fields) -> None:
    _clock(sentence, fields)
    quality = whole_in(fields["gps_qual"], "quality")
    sentence.is_valid = bool(quality)
    if not quality:
        return
    _position(sentence, fields)
    sentence.values["fix"] = _QUALITIES.get(quality, str(quality))
    sentence.values["sats"] = whole_in(fields["num_sats"], "sats")
    _put(sentence, "hdop", fields["horizontal_dil"])
    _put(sentence, "ele", fields["altitude"])


def _gns(sentence: Sentence, fields: _Fields) -> None:
    _clock(sentence, fields)
    sentence.is_valid = bool(fields["mode_indicator"].strip("N"))
    if not sentence.is_valid:
        return
    _position(sentence, fields)
    sentence.values["sats"] = whole_in(fields["num_sats"], "sats")
    _put(sentence, "hdop", fields["hdop"])
    _put(sentence, "ele", fields["altitude"])


def _gll(sentence: Sentence, fields: _Fields) -> None:
    _clock(sentence, fields)
    sentence.is_valid = fields["status"] == "A" and fields["faa_mode"] != "N"
    if sentence.is_valid:
        _position(sentence, fields)


def _zda(sentence: Sentence, fields: _Fields) -> None:
    _clock(sentence, fields)
    said = [fields[name] for name in ("day", "month", "year")]
    if all(said):
        day, month, year = (whole_in(text, "date") or 0 for text in said)
        sentence.day = _day(year, month, day, "-".join(reversed(said)))


def _vtg(sentence: Sentence, fields: _Fields) -> None:
    if fields["faa_mode"] == "N":
        return
    _put(sentence, "heading", fields["true_track"])
    knots = fields["spd_over_grnd_kts"]
    _put(sentence, "speed_mps", knots or fields["spd_over_grnd_kmph"], KNOT if knots else KMH)


def _hdt(sentence: Sentence, fields: _Fields) -> None:
    _put(sentence, "true_heading", fields["heading"])


_READ: Final = {"RMC": _rmc, "GGA": _gga, "GNS": _gns, "GLL": _gll, "ZDA": _zda, "VTG": _vtg, "HDT": _hdt}


def _clock(sentence: Sentence, fields: _Fields) -> None:
    text = fields["timestamp"]
    if not text:
        return
    found = _CLOCK.fullmatch(text)
    try:
        if found is None:
            raise ValueError("HHMMSS is expected")
        sentence.clock = clock_ns(int(found[1]), int(found[2]), int(found[3]), found[4] or "")
    except ValueError as error:
        raise Bad(f"the time is {shown(text)}: {error}", "time", text, "HHMMSS.SS") from None


def _day(year: int, month: int, day: int, text: str) -> int:
    try:
        return days_since_1970(year, month, day)
    except ValueError as error:
        raise Bad(f"the date is {shown(text)}: {error}", "time", text) from None


def _position(sentence: Sentence, fields: _Fields) -> None:
    lat = _degrees(fields["lat"], fields["lat_dir"], "NS", "lat")
    lon = _degrees(fields["lon"], fields["lon_dir"], "EW", "lon")
    if lat is not None and lon is not None:
        check_position(lat, lon)
        sentence.values |= {"lat": lat, "lon": lon}


def _degrees(text: str, side: str, sides: str, key: str) -> float | None:
    """Degrees out of 4846.4008666, which are 48 degrees and 46.4008666 minutes."""
    if not text:
        return None
    found = _DEGREES.fullmatch(text)
    if found is None or float(found[2]) >= 60 or side not in tuple(sides):
        raise Bad(f"{key} is {shown(f'{text} {side}')}, and no degrees and minutes", key, f"{text},{side}")
    degrees = int(found[1]) + float(found[2]) / 60
    return -degrees if side == sides[1] else degrees


def _put(sentence: Sentence, column: str, text: str, factor: float = 1.0) -> None:
    value = number_in(text, column)
    if value is not None:
        sentence.values[column] = value * factor
