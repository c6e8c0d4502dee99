"""The parts of a job that say what a metadata table is and how its rows become records.

Checked values, frozen; nothing here reads a file. `model` puts them into a job.
"""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import Field, field_validator

from metaferry.job.parts import Expression, Location, Model, Number, Short


class FrameColumn(Short):
    """The frame index of a row."""

    short = "value"

    value: Expression = Field(description="SQL expression giving the frame's index.")
    base: Annotated[Literal[0, 1], Number] = Field(
        default=0, description="1 where the table counts frames from one."
    )


class Source(Model):
    """One metadata table and how its rows become records."""

    table: Location = Field(
        description="csv, tsv, parquet, jsonl (also .gz, .zst), globs, from any fsspec URL."
    )
    name: str | None = Field(
        default=None, min_length=1, description="Name in reports; default: the table's URL."
    )
    format: Literal["csv", "tsv", "parquet", "jsonl"] | None = Field(
        default=None, description="Where the file name does not tell it."
    )
    encoding: str | None = Field(
        default=None,
        min_length=1,
        description="Of a text table that is not UTF-8 and has no byte order mark: cp1252, utf-16-le …",
    )
    file_name: Expression = Field(
        default="file_name", description="SQL expression giving the media's path below `input`."
    )
    frame: FrameColumn | None = Field(
        default=None,
        description="SQL expression of the frame index, or {value, base}. Null: the whole video.",
    )
    metadata: dict[str, Expression] | None = Field(
        default=None,
        description="Key path in the document: SQL expression. Omit to take all other columns.",
    )

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        if encoding is None:
            return None
        try:
            known = codecs.lookup(encoding)
            "".encode(known.name)  # some codecs are for bytes alone
        except LookupError:
            raise ValueError(
                f"{encoding!r} is no encoding that is known; write utf-8, cp1252, latin-1, utf-16-le …"
            ) from None
        return known.name

    @field_validator("metadata")
    @classmethod
    def _key_paths(cls, metadata: dict[str, str] | None) -> dict[str, str] | None:
        from metaferry.lightly.key_paths import RESERVED_PREFIX, overlapping, split_path

        paths = {key: split_path(key) for key in metadata or {}}
        for key, path in paths.items():
            if any(step.startswith("[") for step in path):
                raise ValueError(f"{key!r}: a position in a list cannot be written; map the whole list")
            if path[0].startswith(RESERVED_PREFIX):
                raise ValueError(f"{key!r}: keys that begin with `{RESERVED_PREFIX}` are the consumer's own")
        for short, long in overlapping(paths.values()):
            raise ValueError(f"{'.'.join(short)!r} cannot hold a value and {'.'.join(long)!r} too")
        return metadata

    @property
    def label(self) -> str:
        """What reports and findings call this source."""
        return self.name or self.table.shown
