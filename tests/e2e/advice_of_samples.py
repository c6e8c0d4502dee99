"""Examples for `test_advice.py`: samples that are joined to frames by time, each with something odd.

The video has ten frames, one every 40 milliseconds; its samples are every 100.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

import yaml

from metaferry.findings import Code

if TYPE_CHECKING:
    from e2e.test_advice import Example

#: 2026-05-01T12:00:00Z.
NOON: Final = 1_777_636_800
Steps = Generator[None, dict[str, Any], None]


def samples(example: Example, times: list[Any], *, lat: int = 48, video: str = "v.mp4", **more: Any) -> None:
    """The source of the example, with samples of these times."""
    rows = [f"{time},{at},{lat},11,{video}" for at, time in enumerate(times)]
    example.world.put("can.csv", "\n".join(["t,speed,lat,lon,video", *rows, ""]))
    example.source.clear()
    example.source.update(
        {
            "telemetry": {"table": "can.csv"},
            "video": "video",
            "time": {"column": "t", "unit": "ms"},
            "start": {"from": "column", "column": f"{NOON}", "unit": "s"},
            "metadata": {"speed": {"linear": "speed"}, "lat": {"linear": "lat"}, "lon": {"angular": "lon"}},
            **more,
        }
    )


def every(milliseconds: int, count: int = 6, *, start: int = NOON * 1000) -> list[int]:
    return [start + at * milliseconds for at in range(count)]


def told_unit(example: Example) -> Steps:
    samples(example, every(100), time="t")
    finding = yield
    found = re.search(r"write (unit: \w+)", finding["advice"])
    assert found
    example.source["time"] = {"column": "t", **yaml.safe_load(found[1])}


def a_sample_without_a_time(example: Example) -> Steps:
    samples(example, [*every(100), ""])
    finding = yield
    assert finding["row"] == 8
    assert "leave such samples out with `where`" in finding["advice"]
    example.source["where"] = "t IS NOT NULL"


def times_of_a_clock(example: Example) -> Steps:
    samples(example, [f"2026-05-01 14:00:00.{at}" for at in range(6)], time="t::VARCHAR")
    finding = yield
    assert "time: {zone: UTC}" in finding["advice"]
    example.source["time"] = {"column": "t::VARCHAR", "zone": "Europe/Berlin"}


def latitude_and_longitude_swapped(example: Example) -> Steps:
    samples(example, every(100), lat=151)
    finding = yield
    assert "swap the expressions" in finding["advice"]
    example.source["metadata"].update(lat={"linear": "lon"}, lon={"angular": "lat"})


def no_time_in_the_name(example: Example) -> Steps:
    start = {"from": "file_name", "pattern": "%Y%m%d_%H%M", "zone": "UTC"}
    samples(example, every(100), start=start)
    finding = yield
    assert "another `from`" in finding["advice"]
    example.source["start"] = "first_sample"


def another_zone(example: Example) -> Steps:
    start = {"from": "column", "column": "TIMESTAMP '2026-05-01 14:00:00'", "zone": "UTC"}
    samples(example, every(100), start=start)
    finding = yield
    assert "they are about 2 h earlier, as where a zone is wrong" in finding["message"]
    assert "see `start` (means, zone, offset)" in finding["advice"]
    start["zone"] = "Europe/Berlin"


def a_late_start(example: Example) -> Steps:
    samples(example, every(100, start=NOON * 1000 + 250))
    finding = yield
    assert "look at start (means, zone, offset)" in finding["advice"]
    example.source["start"]["offset"] = "250ms"


def a_clock_that_was_set(example: Example) -> Steps:
    times = every(100)
    samples(example, [*times[3:], *times[:3]])
    finding = yield
    assert "at 1 place in their files" in finding["message"]
    samples(example, times)


def a_time_twice(example: Example) -> Steps:
    samples(example, [*every(100), NOON * 1000])
    finding = yield
    assert "1 sample has the time of another one" in finding["message"]
    samples(example, every(100))


def a_silent_device(example: Example) -> Steps:
    samples(example, every(100), max_gap="50ms")
    finding = yield
    assert "a larger max_gap bridges more" in finding["advice"]
    example.source["max_gap"] = "100ms"


SAMPLES: Final[dict[Code, Callable[[Example], Steps]]] = {
    Code.TELEMETRY_UNIT: told_unit,
    Code.TELEMETRY_BAD_TIME: a_sample_without_a_time,
    Code.TELEMETRY_NO_ZONE: times_of_a_clock,
    Code.TELEMETRY_SWAPPED: latitude_and_longitude_swapped,
    Code.TELEMETRY_NO_START: no_time_in_the_name,
    Code.TELEMETRY_UNFILLED: another_zone,
    Code.TELEMETRY_OVERLAP: a_late_start,
    Code.TELEMETRY_BACKWARDS: a_clock_that_was_set,
    Code.TELEMETRY_REPEATED: a_time_twice,
    Code.TELEMETRY_GAPS: a_silent_device,
}
