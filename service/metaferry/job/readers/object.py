"""The key `object`: what the listing tells of the media themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from metaferry.job.parts import Model
from metaferry.job.readers.annotations import Address

if TYPE_CHECKING:
    from metaferry.job.model import Job
    from metaferry.job.readers.keys import ReaderKeys


class Object(Model):
    """The objects of the input: a row for each image and each video."""

    parts: str | None = Field(
        default=None,
        min_length=1,
        description="A regular expression (RE2) whose named groups are columns, searched in the path below "
        "`input`: '^(?P<site>[^/]+)/'. Null where it does not match.",
    )

    headers: bool = Field(
        default=False,
        description="Asks for the content type and the user metadata of each image and video where the "
        "listing has none: one request each on S3, and with an inventory. The answers are kept between runs.",
    )
    tags: bool = Field(
        default=False,
        description="The tags of each image and video: one request each on S3; on Azure the listing has "
        "them. Takes a right of its own ([policy.md](policy.md)). The answers are kept between runs.",
    )
    fresh: bool = Field(
        default=False,
        description="Asks again for what earlier runs were told. Tags on S3 change without a new version of "
        "the object.",
    )

    @property
    def shown(self) -> str:
        """The source for people."""
        return "the objects of the input"

    def for_digest(self, address: Address) -> Mapping[str, Any]:
        """What decides its rows."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude={"fresh"})


def asked_of_objects(job: Job) -> tuple[Object, ...]:
    """What the tables and sources of a job want to know of the objects of the input."""
    owners: tuple[ReaderKeys, ...] = (*job.tables.values(), *job.sources)
    return tuple(one.object for one in owners if one.object is not None)
