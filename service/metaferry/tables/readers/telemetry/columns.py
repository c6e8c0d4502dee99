"""The columns that recordings share: a sample's time, in the one column that says how much is known of it."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from metaferry.tables.readers.contract import ReaderColumn, ReaderRelation

SAMPLES: Final = "samples"

TIME: Final = ReaderColumn("time", pa.timestamp("ns", "UTC"), "when it was taken, where the zone is known")
LOCAL_TIME: Final = ReaderColumn(
    "local_time", pa.timestamp("ns"), "the same as the device's clock shows it, in a zone that nobody says"
)
ELAPSED: Final = ReaderColumn(
    "elapsed_ns", pa.int64(), "the same where the clock has no date: nanoseconds since it began"
)
LAT: Final = ReaderColumn("lat", pa.float64(), "degrees north (WGS 84)")
LON: Final = ReaderColumn("lon", pa.float64(), "degrees east")
ELE: Final = ReaderColumn("ele", pa.float64(), "metres above sea level")
SPEED: Final = ReaderColumn("speed_mps", pa.float64(), "speed over ground, metres a second")
HEADING: Final = ReaderColumn(
    "heading", pa.float64(), "course over ground, degrees clockwise from true north"
)
HDOP: Final = ReaderColumn("hdop", pa.float64(), "dilution of precision, horizontal")
VDOP: Final = ReaderColumn("vdop", pa.float64(), "the same, vertical")
PDOP: Final = ReaderColumn("pdop", pa.float64(), "the same, of the position")
SATS: Final = ReaderColumn("sats", pa.int32(), "satellites in use")
FIX: Final = ReaderColumn("fix", pa.string(), "how the position was found, as the format has it")


def samples_of(*columns: ReaderColumn, meaning: str, place: str) -> ReaderRelation:
    """The relation of a format: a sample's time, and these columns."""
    return ReaderRelation(SAMPLES, meaning, (TIME, LOCAL_TIME, ELAPSED, *columns), place)
