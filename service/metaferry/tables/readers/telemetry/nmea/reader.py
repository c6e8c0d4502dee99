"""The reader of NMEA logs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Final, Literal

import pyarrow as pa

from metaferry.findings import Code
from metaferry.tables.readers.annotations.opened import Placed, Rejected
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import shown
from metaferry.tables.readers.contract import Given, ReaderColumn
from metaferry.tables.readers.extras import missing_extra
from metaferry.tables.readers.files import ReaderFile
from metaferry.tables.readers.telemetry import columns as shared
from metaferry.tables.readers.telemetry.columns import SAMPLES, samples_of
from metaferry.tables.readers.telemetry.nmea.epochs import Dated, Days, Epochs
from metaferry.tables.readers.telemetry.nmea.lines import sentences_in
from metaferry.tables.readers.telemetry.nmea.sentences import has_checksum, sentence_of
from metaferry.tables.readers.telemetry.opened import OpenedRecordings, counted
from metaferry.tables.readers.telemetry.times import check_set, days_since_1970, ns_text
from metaferry.tables.readers.telemetry.values import is_nowhere

_KNOWN: Final = re.compile(rb"\$[A-Z]{2}(RMC|GGA|GNS|GLL|ZDA|VTG|HDT|GSA|GSV|GST|TXT|DTM),[0-9A-Z,.]")
_ROW: Final = 150

_RELATION: Final = samples_of(
    shared.LAT,
    shared.LON,
    shared.ELE,
    shared.SPEED,
    shared.HEADING,
    ReaderColumn(
        "true_heading", pa.float64(), "where the bow points (HDT), degrees clockwise from true north"
    ),
    shared.HDOP,
    shared.SATS,
    shared.FIX,
    ReaderColumn("talker", pa.string(), "who says it: GP, GN, GL …, of the first sentence"),
    meaning="what the sentences of one time say",
    place="line",
)


class NmeaReader:
    """`contract.Reader` of NMEA 0183."""

    key = "telemetry"
    name = "nmea"
    title = "NMEA 0183: logs of GPS receivers"
    relations = (SAMPLES,)
    frame_base: Literal[0, 1] = 0

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        return not head.lstrip().startswith(b"<") and _KNOWN.search(head) is not None

    def takes_folder(self, names: Sequence[str]) -> bool:
        return bool(names) and all(
            name.lower().endswith((".nmea", ".nmea.gz", ".nmea.zst")) for name in names
        )

    def open(self, given: Given) -> OpenedNmea:
        if find_spec("pynmea2") is None:
            raise missing_extra("telemetry", f"{given.value.shown} is a log of NMEA sentences", given.place)
        return OpenedNmea(given)


class OpenedNmea(OpenedRecordings):
    """`contract.Opened` of it."""

    relations = (_RELATION,)

    def rows(self, file: ReaderFile) -> Iterator[Placed | Rejected]:
        first = self.given.value.date
        epochs = Epochs()
        days = Days(None if first is None else days_since_1970(first.year, first.month, first.day))
        nowhere = 0
        for found in self._timed(file, epochs, days):
            if isinstance(found, Rejected):
                yield found
                continue
            nowhere += is_nowhere(found.epoch.values.get("lat"), found.epoch.values.get("lon"))
            yield _row(found)
        self.note_nowhere(nowhere)
        self.note_invalid(epochs.invalid, "status V, or no fix")
        if days.undated:
            self.note(
                Code.TELEMETRY_UNDATED,
                f"no sentence says the day of {counted(days.undated)}: they have `elapsed_ns` since midnight "
                "(UTC) of the first day, and no time",
                "say which day the file begins with: telemetry: {url: …, date: 2026-05-01}",
            )

    def _timed(self, file: ReaderFile, epochs: Epochs, days: Days) -> Iterator[Dated | Rejected]:
        """The samples with their times, and sentences that are none."""
        has_checksums = False
        for text, line, is_last in sentences_in(file.utf8()):
            is_marked = has_checksum(text)
            if is_last and not is_marked:
                self.note_cut(f"ends within a sentence (line {line:,})")
                break
            try:
                if has_checksums and not is_marked:
                    raise Bad("the sentence has no checksum, and others before it have", "", shown(text))
                sentence = sentence_of(text)
            except Bad as bad:
                yield Rejected(SAMPLES, line, bad)
                continue
            has_checksums |= is_marked
            for epoch in epochs.add(sentence, line):
                yield from days.add(epoch)
        for epoch in epochs.end():
            yield from days.add(epoch)
        yield from days.end()

    def example(self, table: str) -> str:
        return (
            "SELECT regexp_replace(_path, '[.][^.]*$', '.mp4') AS file_name, count(*) AS samples,\n"
            "       min(sats) AS fewest_satellites, max(speed_mps) * 3.6 AS fastest_kmh\n"
            f"FROM {table}.samples GROUP BY _path"
        )


def _row(dated: Dated) -> Placed | Rejected:
    epoch, ns, elapsed = dated
    try:
        if ns is not None:
            check_set(ns, ns_text(ns))
    except Bad as bad:
        return Rejected(SAMPLES, epoch.line, bad)
    values = epoch.values
    if is_nowhere(values.get("lat"), values.get("lon")):
        values |= {"lat": None, "lon": None}
    return Placed(SAMPLES, epoch.line, _ROW, {**values, "time": ns, "elapsed_ns": elapsed})
