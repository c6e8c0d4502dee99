"""The keys `delta` and `iceberg`: tables of a lake, and the version of them that is read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from metaferry.job.parts import Location, Number, Short
from metaferry.job.readers.annotations import Address
from metaferry.job.readers.sql import DriverOption
from metaferry.masking import remember, remember_url, showable


def _with_zone(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("should have a zone: 2026-05-01T00:00:00Z")
    return value


class Delta(Short):
    """A Delta table, read by its own library."""

    short = "url"

    url: str = Field(min_length=1, description="The folder of the table: s3://…, gs://…, az://…, or a path.")
    options: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,  # may hold credentials: never printed
        description="fsspec options for this table alone, over `storage:`.",
    )
    version: Annotated[int | None, Number] = Field(
        default=None, ge=0, description="A version of the table. Default: the newest; the report names it."
    )
    time: datetime | None = Field(
        default=None, description="The version that was the newest at that time, in place of `version`."
    )

    @field_validator("url")
    @classmethod
    def _clear_host(cls, url: str) -> str:
        return Location(url=url).url

    @field_validator("time")
    @classmethod
    def _zone(cls, time: datetime | None) -> datetime | None:
        return None if time is None else _with_zone(time)

    @model_validator(mode="after")
    def _one_version(self) -> Self:
        if self.version is not None and self.time is not None:
            raise ValueError("`version` and `time` exclude each other")
        return self

    def model_post_init(self, context: Any) -> None:
        """Registers its secrets, so that no log record shows them."""
        remember(self.options)
        remember_url(self.url)

    @property
    def location(self) -> Location:
        """Where it is, with the options of this table."""
        return Location(url=self.url, options=self.options)

    @property
    def shown(self) -> str:
        """The table for people."""
        return showable(self.url)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [("url", self.shown), ("version", self.version), ("time", self.time)]

    def for_digest(self, address: Address) -> Mapping[str, Any]:
        """What decides its rows."""
        return {
            **address(self.location),
            "version": self.version,
            "time": self.time and self.time.isoformat(),
        }


class Iceberg(Short):
    """An Iceberg table: its folder or a metadata file of it, or a table of a catalog."""

    short = "url"

    url: str | None = Field(
        default=None,
        min_length=1,
        description="The folder of the table, whose newest metadata file is taken, or a metadata file.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,  # may hold credentials: never printed
        description="fsspec options for this table alone, over `storage:`.",
    )
    catalog: str | None = Field(
        default=None,
        min_length=1,
        description="A catalog that pyiceberg's own configuration knows (~/.pyiceberg.yaml, "
        "PYICEBERG_CATALOG__…), in place of `url`.",
    )
    name: str | None = Field(
        default=None, min_length=1, description="The table in the catalog: fleet.labels."
    )
    properties: dict[str, DriverOption] = Field(
        default_factory=dict,
        repr=False,
        description="Properties of the catalog, over those of its configuration.",
    )
    snapshot: Annotated[int | None, Number] = Field(
        default=None, description="A snapshot by its number. Default: the current one; the report names it."
    )
    ref: str | None = Field(
        default=None, min_length=1, description="A branch or a tag, in place of `snapshot`."
    )
    time: datetime | None = Field(
        default=None,
        description="The snapshot that was the current one at that time, in place of `snapshot`.",
    )

    @field_validator("url")
    @classmethod
    def _clear_host(cls, url: str | None) -> str | None:
        return None if url is None else Location(url=url).url

    @field_validator("time")
    @classmethod
    def _zone(cls, time: datetime | None) -> datetime | None:
        return None if time is None else _with_zone(time)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.url is None) == (self.catalog is None):
            raise ValueError("should have a `url`, or a `catalog` with the `name` of a table")
        if (self.catalog is None) != (self.name is None):
            raise ValueError("`catalog` and `name` belong together")
        if self.properties and self.catalog is None:
            raise ValueError("`properties` are of a `catalog`; beside a `url` write `options`")
        if self.options and self.url is None:
            raise ValueError("`options` are of a `url`; beside a `catalog` write `properties`")
        given = [key for key in ("snapshot", "ref", "time") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"`{given[0]}` and `{given[1]}` exclude each other")
        return self

    def model_post_init(self, context: Any) -> None:
        """Registers its secrets, so that no log record shows them."""
        remember(self.options)
        remember(self.properties)
        if self.url is not None:
            remember_url(self.url)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [("table", self.shown), ("snapshot", self.snapshot), ("ref", self.ref), ("time", self.time)]

    @property
    def location(self) -> Location | None:
        """Where it is; None of a table of a catalog."""
        return None if self.url is None else Location(url=self.url, options=self.options)

    @property
    def shown(self) -> str:
        """The table for people."""
        return f"{self.catalog}:{self.name}" if self.url is None else showable(self.url)

    def for_digest(self, address: Address) -> Mapping[str, Any]:
        """What decides its rows."""
        location = self.location
        where = address(location) if location is not None else {"catalog": self.catalog, "name": self.name}
        version = {"snapshot": self.snapshot, "ref": self.ref, "time": self.time and self.time.isoformat()}
        return {**where, **version}
