"""The key `telemetry`: where recordings of sensors are, and how their clocks and topics are read."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from metaferry.job.parts import Location
from metaferry.job.readers.annotations import Address


class Telemetry(Location):
    """Recordings of sensors, read by the reader of their format: the relation `samples`, with times."""

    url: str = Field(
        min_length=1,
        description="The recording (GPX, NMEA, MCAP, ROS bag), a glob of such files, or a folder that ends "
        "in /; any fsspec URL. GPX and NMEA also .gz, .zst and .zip.",
    )
    reader: str | None = Field(
        default=None,
        min_length=1,
        description="The format, by the name of its reader: gpx … ([telemetry.md](sources/telemetry.md)). "
        "Default: found by what the file holds.",
    )
    date: datetime.date | None = Field(
        default=None,
        description="Of NMEA: the day (UTC) of the first sentence, for files without a sentence that says "
        "it: 2026-05-01.",
    )
    topics: list[str] = Field(
        default_factory=list,
        description="Of MCAP and ROS bags: the topics that are read, `*` for any characters. Default: all "
        "but pictures, point clouds and their likes.",
    )
    clock: Literal["header", "log", "publish"] | None = Field(
        default=None,
        description="Of MCAP and ROS bags: the time of a sample, out of the message (`header.stamp`), or as "
        "it was logged or published. Default: `header` where a message has one, else `log`.",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="What the reader of another package wants to know. Credentials belong into `options`.",
    )

    def for_digest(self, address: Address) -> Mapping[str, Any]:
        """What decides its rows."""
        said = {
            "reader": self.reader,
            "date": self.date and self.date.isoformat(),
            "topics": self.topics,
            "clock": self.clock,
            "settings": self.settings,
        }
        return {**address(self), **{key: value for key, value in said.items() if value}}
