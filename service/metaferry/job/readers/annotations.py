"""The key `annotations`: where annotation files are, and the reader that knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from metaferry.job.parts import Location

#: What a location adds to a digest: its address, without credentials.
Address = Callable[[Location], Mapping[str, Any]]


class Annotations(Location):
    """Annotation files, read by the reader of their format: relations, such as images and objects."""

    url: str = Field(
        min_length=1,
        description="The annotation file, a glob of such files, or the folder of a format that has one; any "
        "fsspec URL, also .gz, .zst and .zip.",
    )
    reader: str | None = Field(
        default=None,
        min_length=1,
        description="The format, by the name of its reader: coco … ([sources](sources/README.md)). Default: "
        "found by what the file holds.",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="What the reader of another package wants to know. Credentials belong into `options`.",
    )

    def for_digest(self, address: Address) -> Mapping[str, Any]:
        """What decides its rows."""
        said = {"reader": self.reader} if self.reader is not None else {}
        return {**address(self), **said, **({"settings": self.settings} if self.settings else {})}
