"""The key `telemetry` of a source: samples of sensors, out of files, a table, or a query over tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import Field, model_validator

from metaferry.job.parts import Location
from metaferry.job.readers.annotations import Address
from metaferry.job.readers.telemetry import Telemetry

#: What only files of a telemetry format have.
_OF_FILES: Final = ("options", "reader", "date", "topics", "clock", "settings")
#: Characters of a query that stand for its name.
_SHOWN: Final = 48


class Samples(Telemetry):
    """Samples of sensors: files of a telemetry format, a table, or a query, with a time in every row."""

    url: str = Field(
        default="",
        description="The recording (GPX, NMEA, MCAP, ROS bag), a glob of such files, or a folder that ends "
        "in /; any fsspec URL. This, `table` or `query`.",
    )
    table: Location | None = Field(
        default=None,
        description="A table of samples: csv, tsv, parquet, arrow, jsonl, json. How it is read (`delimiter` "
        "…) is said beside `telemetry`.",
    )
    query: str | None = Field(
        default=None,
        min_length=1,
        description="One SELECT over the `tables` of the job, whose columns are those of the samples "
        "([queries.md](queries.md)).",
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        forms = {"url": self.url or None, "table": self.table, "query": self.query}
        given = [key for key, value in forms.items() if value is not None]
        if len(given) != 1:
            which = " and ".join(f"`{key}`" for key in given) or "none of them"
            raise ValueError(f"samples come from a `url`, a `table` or a `query`, and here is {which}")
        extra = next((key for key in _OF_FILES if key in self.model_fields_set), None)
        if extra is not None and not self.url:
            raise ValueError(f"`{extra}` is for files of a telemetry format, and this is a {given[0]}")
        return self

    @property
    def shown(self) -> str:
        """Where the samples come from, for people."""
        if self.table is not None:
            return self.table.shown
        if self.query is not None:
            text = " ".join(self.query.split())
            return f"samples of {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}"
        return super().shown

    def for_digest(self, address: Address) -> Mapping[str, Any]:
        """What decides its rows."""
        if self.table is not None:
            return {"table": address(self.table)}
        return {"query": self.query} if self.query is not None else super().for_digest(address)
