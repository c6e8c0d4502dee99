"""GPX 1.0 and 1.1: points of tracks with their times, and those points of routes and waypoints that have one.

Schemas: topografix.com/GPX/1/0 and 1/1; Garmin's TrackPointExtension v1 and v2 for `hr`, `cad`, `atemp`,
`speed` and `course`. A speed is metres a second, as both say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pyarrow as pa

from metaferry.findings import Code
from metaferry.tables.model import folded
from metaferry.tables.readers.annotations.opened import Placed, Rejected
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.xml_stream import BrokenXml, read_xml
from metaferry.tables.readers.contract import Given, ReaderColumn
from metaferry.tables.readers.files import ReaderFile
from metaferry.tables.readers.telemetry import columns as shared
from metaferry.tables.readers.telemetry.columns import SAMPLES, samples_of
from metaferry.tables.readers.telemetry.opened import OpenedRecordings
from metaferry.tables.readers.telemetry.times import iso_time
from metaferry.tables.readers.telemetry.values import check_position, is_nowhere, number_in, whole_in

_BEGIN: Final = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(\w+:)?gpx[\s>/]", re.DOTALL)
_EXTENSIONS_TAG: Final = frozenset({"extensions"})
#: Kinds of points, by their tag.
_KINDS: Final = {"trkpt": "track", "rtept": "route", "wpt": "waypoint"}
#: Elements of extensions that a point keeps, and characters of a value; of one file, different names.
_MOST: Final = 64
_LONGEST: Final = 4_096
_MOST_NAMES: Final = 1_000
#: About how many bytes a row holds.
_ROW: Final = 200

#: Columns of numbers by the names of elements: of a point itself, and of its extensions.
_OWN: Final = {"ele": "ele", "speed": "speed_mps", "course": "heading"}
_DOP: Final = {"hdop": "hdop", "vdop": "vdop", "pdop": "pdop"}
_EXTENSIONS: Final = {
    "speed": "speed_mps",
    "course": "heading",
    "hr": "heart_rate",
    "cad": "cadence",
    "atemp": "temperature",
}

_RELATION: Final = samples_of(
    shared.LAT,
    shared.LON,
    shared.ELE,
    shared.SPEED,
    shared.HEADING,
    shared.HDOP,
    shared.VDOP,
    shared.PDOP,
    shared.SATS,
    shared.FIX,
    ReaderColumn("heart_rate", pa.float64(), "beats a minute (Garmin's hr)"),
    ReaderColumn("cadence", pa.float64(), "revolutions or steps a minute (Garmin's cad)"),
    ReaderColumn("temperature", pa.float64(), "degrees Celsius of the air (Garmin's atemp)"),
    ReaderColumn("kind", pa.string(), "track, route or waypoint"),
    ReaderColumn("name", pa.string(), "the name of the point"),
    ReaderColumn("track", pa.int64(), "the number of its track or route in the file, from 1"),
    ReaderColumn("segment", pa.int64(), "the number of its segment in the track, from 1"),
    ReaderColumn("extensions", pa.string(), "what else stands in its extensions", json=True),
    meaning="a point with a time",
    place="line",
)


class GpxReader:
    """`contract.Reader` of GPX."""

    key = "telemetry"
    name = "gpx"
    title = "GPX 1.0 and 1.1"
    relations = (SAMPLES,)
    frame_base: Literal[0, 1] = 0

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        return _BEGIN.match(head) is not None

    def takes_folder(self, names: Sequence[str]) -> bool:
        return bool(names) and all(name.lower().endswith((".gpx", ".gpx.gz", ".gpx.zst")) for name in names)

    def open(self, given: Given) -> OpenedGpx:
        return OpenedGpx(given)


class OpenedGpx(OpenedRecordings):
    """`contract.Opened` of it."""

    relations = (_RELATION,)

    def rows(self, file: ReaderFile) -> Iterator[Placed | Rejected]:
        document = GpxDocument()
        try:
            for _ in read_xml(file.utf8(), document):
                found, document.found = document.found, []
                yield from found
        except BrokenXml as error:
            if not (error.is_cut and document.is_ours):
                raise self.fault(file, error.message, error.advice) from None
            yield from document.found
            self.note_cut(error.message)
        self._tell(document)

    def _tell(self, document: GpxDocument) -> None:
        self.note_nowhere(document.nowhere)
        self.note_invalid(document.invalid, "fix none")
        if document.untimed:
            points = "1 point" if document.untimed == 1 else f"{document.untimed:,} points"
            self.note(
                Code.TELEMETRY_UNTIMED,
                f"{points} of routes and waypoints without a time: left out"
                if document.samples
                else f"no point has a time ({points})",
                "" if document.samples else "export it with the times of the recording",
                is_usual=bool(document.samples),
            )

    def example(self, table: str) -> str:
        return (
            "SELECT regexp_replace(_path, '[.]gpx$', '.mp4') AS file_name, count(*) AS samples,\n"
            "       min(ele) AS lowest, max(ele) AS highest, max(speed_mps) * 3.6 AS fastest_kmh\n"
            f"FROM {table}.samples GROUP BY _path"
        )


@dataclass(slots=True)
class GpxDocument:
    """The points of one file, as `xml_stream.Handler`; `found` is taken from time to time."""

    found: list[Placed | Rejected] = field(default_factory=list)
    is_ours: bool = False
    samples: int = 0
    #: Points without a time that are of no track, those without a fix, and those without a position.
    untimed: int = 0
    invalid: int = 0
    nowhere: int = 0
    _tracks: int = 0
    _segments: int = 0
    _point: Mapping[str, str] | None = None
    _kind: str = ""
    _line: int = 0
    _said: dict[str, str] = field(default_factory=dict)
    _more: dict[str, str] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def begin(self, path: tuple[str, ...], attributes: Mapping[str, str], line: int) -> None:
        name = _local(path[-1])
        if len(path) == 1:
            if name != "gpx":
                raise BrokenXml(f"begins with <{path[0][:80]}>, and GPX with <gpx>")
            self.is_ours = True
        elif name in _KINDS and self._point is None:
            self._point, self._kind, self._line = attributes, _KINDS[name], line
            self._said, self._more = {}, {}
        elif self._point is None and name in ("trk", "rte"):
            self._tracks, self._segments = self._tracks + 1, 0
        elif self._point is None and name == "trkseg":
            self._segments += 1

    def end(self, path: tuple[str, ...], text: str, line: int) -> None:
        if self._point is None:
            return
        name, above = _local(path[-1]), _local(path[-2])
        if above in _KINDS:
            self._said.setdefault(name, text)
        elif name in _KINDS:
            point, self._point = self._point, None
            self._end_point(point)
        elif text and len(self._more) < _MOST and _EXTENSIONS_TAG.intersection(map(_local, path)):
            self._more.setdefault(name, text[:_LONGEST])

    def _end_point(self, point: Mapping[str, str]) -> None:
        try:
            values = self._values(point)
        except Bad as bad:
            self.found.append(Rejected(SAMPLES, self._line, bad))
            return
        if values is not None:
            self.samples += 1
            self.found.append(Placed(SAMPLES, self._line, _ROW, values))

    def _values(self, point: Mapping[str, str]) -> dict[str, Any] | None:
        """The row of a point; None of one that is no sample. Raises Bad."""
        said, more = self._said, self._more
        if said.get("fix", "").strip().lower() == "none":
            self.invalid += 1
            return None
        when = said.get("time", "")
        if not when:
            if self._kind == "track":
                raise Bad("the point has no time", "time", expected="2026-05-01T12:00:00Z")
            self.untimed += 1
            return None
        time = iso_time(when)
        lat, lon = (_degrees(point, key) for key in ("lat", "lon"))
        if lat is not None and lon is not None:
            check_position(lat, lon)
        if lat is None or lon is None or is_nowhere(lat, lon):
            self.nowhere += 1
            lat = lon = None
        values: dict[str, Any] = {
            "time": time.ns if time.is_utc else None,
            "local_time": None if time.is_utc else time.ns,
            "lat": lat,
            "lon": lon,
            "sats": whole_in(said.get("sat", ""), "sat"),
            "fix": said.get("fix") or None,
            "kind": self._kind,
            "name": said.get("name") or None,
            "track": self._tracks if self._kind != "waypoint" else None,
            "segment": self._segments if self._kind == "track" else None,
        }
        for names, held in ((_OWN, said), (_DOP, said), (_EXTENSIONS, more)):
            for name, column in names.items():
                if name in held and values.get(column) is None:
                    values[column] = number_in(held[name], name)
        values["extensions"] = self._extensions({k: v for k, v in more.items() if k not in _EXTENSIONS})
        return values

    def _extensions(self, more: Mapping[str, str]) -> str | None:
        """The others as JSON, under the first spelling that the file has of a name."""
        if not more:
            return None
        named: dict[str, Any] = {}
        for name, text in more.items():
            key = folded(name)
            if key not in self._names and len(self._names) >= _MOST_NAMES:
                raise BrokenXml(f"has more than {_MOST_NAMES:,} different elements in extensions")
            named.setdefault(self._names.setdefault(key, name), _value(text))
        return json.dumps(named, ensure_ascii=False, separators=(",", ":"))


_JSON_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?", re.ASCII)


def _value(text: str) -> Any:
    """The text of an element, or the number that it is."""
    if _JSON_NUMBER.fullmatch(text) is None:
        return text
    return float(text) if "." in text else int(text)


def _degrees(point: Mapping[str, str], key: str) -> float | None:
    text = point.get(key)
    if text is None:
        raise Bad(f"the point has no {key}", key)
    return number_in(text, key)


def _local(name: str) -> str:
    return name.rpartition(":")[2]
