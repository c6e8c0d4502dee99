"""The key `media_facts`: what images and videos tell of themselves in their headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from metaferry.job.parts import Model
from metaferry.job.readers.annotations import Address


class MediaFacts(Model):
    """The headers of the media: a row for each image and each video."""

    kinds: tuple[Literal["image", "video"], ...] = Field(
        default=("image", "video"),
        min_length=1,
        description="The kinds of media that a source alone makes records of. A query reads those that it "
        "names.",
    )
    as_shown: bool = Field(
        default=False,
        description="Whether `width` and `height` of a source alone are those that a viewer shows, turned by "
        "the orientation, and not those that are stored.",
    )

    @property
    def shown(self) -> str:
        """The source for people."""
        return "the headers of the media"

    def for_digest(self, address: Address) -> Mapping[str, Any]:
        """What decides its rows."""
        return self.model_dump(mode="json", exclude_defaults=True)
