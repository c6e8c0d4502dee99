"""The keys of a job that name what a reader reads, in place of a table: annotations, and further kinds.

A kind is one key beside `table:`, in `tables:` and in `sources:` alike, and a model that says where its
data are and how they are read. Checked values, frozen; nothing here reads a file. What a reader makes of
them is in `tables/readers/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import Field

from metaferry.job.parts import Model
from metaferry.job.readers.annotations import Annotations
from metaferry.job.readers.lake import Delta, Iceberg
from metaferry.job.readers.media_facts import MediaFacts
from metaferry.job.readers.object import Object
from metaferry.job.readers.sql import Sql
from metaferry.job.readers.telemetry import Telemetry


class Given(NamedTuple):
    """A kind of reader by its key in the job, and what the job says under it."""

    key: str
    value: Annotations | Sql | Delta | Iceberg | Object | MediaFacts | Telemetry


class ReaderKeys(Model):
    """The keys that name what a reader reads. At most one of them is given."""

    annotations: Annotations | None = Field(
        default=None,
        description="An annotation file in place of a table: COCO, Lightly's custom metadata … "
        "([sources](sources/README.md)).",
    )
    sql: Sql | None = Field(
        default=None,
        description="A query to a database, {uri, query}, in place of a table ([sql.md](sources/sql.md)).",
    )
    delta: Delta | None = Field(
        default=None, description="A Delta table ([lake.md](sources/lake.md)), in place of a table."
    )
    iceberg: Iceberg | None = Field(
        default=None, description="An Iceberg table ([lake.md](sources/lake.md)), in place of a table."
    )
    object: Object | None = Field(
        default=None,
        description="The media themselves, as they are listed: {} ([object.md](sources/object.md)), in place "
        "of a table.",
    )
    media_facts: MediaFacts | None = Field(
        default=None,
        description="What the headers of the media tell: size, time, camera, place: {} "
        "([media-facts.md](sources/media-facts.md)), in place of a table.",
    )
    telemetry: Telemetry | None = Field(
        default=None,
        description="Recordings of sensors, such as GPX, NMEA, MCAP and ROS bags, in place of a table "
        "([telemetry.md](sources/telemetry.md)).",
    )

    @property
    def given(self) -> Given | None:
        """What a reader is to read; None where it is a table or a query."""
        return next(
            (Given(key, value) for key in READER_KEYS if (value := getattr(self, key)) is not None), None
        )


#: The keys of the job that have a reader. The place for a further kind, with its field above.
READER_KEYS: Final = tuple(ReaderKeys.model_fields)


#: Schemas that the engine has of its own.
_ENGINES: Final = frozenset({"main", "temp", "system", "pg_catalog", "information_schema"})


def check_reader_name(name: str) -> None:
    """Raises ValueError for a name that cannot stand before a relation in FROM: `coco.images`."""
    if not re.fullmatch(r"[^\W\d]\w*", name):
        raise ValueError(
            f"{name!r} stands before a relation ({name}.images): write letters, digits and _ only"
        )
    if name.lower() in _ENGINES:
        raise ValueError(f"{name!r} is a name of the engine's own: give the table another one")


def one_kind(owner: ReaderKeys, others: Mapping[str, Any], *, of: str) -> None:
    """Raises ValueError unless exactly one of the reader keys and `others` has a value."""
    kinds = (*others, *READER_KEYS)
    given = [key for key in kinds if others.get(key, getattr(owner, key, None)) is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(f'`{key}`' for key in given)} exclude each other: write one of them")
    if not given:
        raise ValueError(
            f"{of} has {', '.join(f'`{key}`' for key in kinds[:-1])} or `{kinds[-1]}`: write one"
        )
