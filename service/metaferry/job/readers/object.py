"""The key `object`: what the listing tells of the media themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from metaferry.job.parts import Model
from metaferry.job.readers.annotations import Address


class Object(Model):
    """The objects of the input: a row for each image and each video."""

    parts: str | None = Field(
        default=None,
        min_length=1,
        description="A regular expression (RE2) whose named groups are columns, searched in the path below "
        "`input`: '^(?P<site>[^/]+)/'. Null where it does not match.",
    )

    @property
    def shown(self) -> str:
        """The source for people."""
        return "the objects of the input"

    def for_digest(self, address: Address) -> Mapping[str, Any]:
        """What decides its rows."""
        return self.model_dump(mode="json", exclude_defaults=True)
