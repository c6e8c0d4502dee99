"""The parts of a job that say what a metadata table is and how its rows become records.

Checked values, frozen; nothing here reads a file. `model` puts them into a job.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, field_validator, model_validator

from metaferry.job.parts import Expression, Location, Model, Number, Short


class FrameColumn(Short):
    """The frame index of a row."""

    short = "value"

    value: Expression = Field(description="SQL expression giving the frame's index.")
    base: Annotated[Literal[0, 1], Number] = Field(
        default=0, description="1 where the table counts frames from one."
    )


def _mark(value: Any) -> Any:
    """One character; a tab may be written `\\t`, as shells and other programs do."""
    if value == "\\t":
        return "\t"
    if not isinstance(value, str) or len(value) != 1 or value in "\r\n\0":
        raise ValueError(f"should be one character, is {value!r}")
    return value


def _mark_or_none(value: Any) -> Any:
    return value if value == "" else _mark(value)


def _null_word(value: Any) -> Any:
    return "null" if value is None else json.dumps(value) if isinstance(value, bool | int | float) else value


#: A cell's text. YAML reads `null` and `-999` as other things than text.
NullWord = Annotated[str, BeforeValidator(_null_word, json_schema_input_type=str | int | float | None)]
Mark = Annotated[str, BeforeValidator(_mark, json_schema_input_type=str)]
MarkOrNone = Annotated[str, BeforeValidator(_mark_or_none, json_schema_input_type=str)]

#: Keys of a source that say how delimited text is written.
TEXT_OPTIONS: Final = (
    "delimiter",
    "quote",
    "escape",
    "decimal",
    "thousands",
    "encoding",
    "skip",
    "comment",
    "header",
    "columns",
    "nulls",
    "trim",
)


#: Keys that came later than the digest: it has them where they say something.
_LATER: Final = ("records", "where", "match")


class Skip(Model):
    """Lines of a text table that are neither header nor rows."""

    before: Annotated[int, Number] = Field(default=0, ge=0, description="Lines before the header.")
    after: Annotated[int, Number] = Field(
        default=0, ge=0, description="Lines after the header, such as a row of units."
    )


class Source(Model):
    """One metadata table and how its rows become records."""

    table: Location = Field(
        description="csv, tsv, parquet, arrow, jsonl, json (also .gz, .zst, .zip), globs, any fsspec URL."
    )
    name: str | None = Field(
        default=None, min_length=1, description="Name in reports; default: the table's URL."
    )
    format: Literal["csv", "tsv", "parquet", "jsonl", "json", "arrow"] | None = Field(
        default=None, description="Where the file name does not tell it."
    )
    encoding: str | None = Field(
        default=None,
        min_length=1,
        description="Of a text table that is not UTF-8 and has no byte order mark: cp1252, utf-16-le …",
    )
    records: str | None = Field(
        default=None,
        description="Where the list of records is in a JSON file: `$.annotations`. Default: the file is an "
        "array, or an object with one list of objects in it.",
    )
    delimiter: Mark | None = Field(
        default=None, description="What parts cells. Default: found by what is consistent over the rows."
    )
    quote: MarkOrNone | None = Field(
        default=None,
        description='What stands around a cell that holds a delimiter. Default `"`; "" for none.',
    )
    escape: Mark | None = Field(
        default=None, description="What stands before a quote within a cell. Default: the quote is doubled."
    )
    decimal: Literal[".", ","] = Field(default=".", description="The mark before the fraction of a number.")
    thousands: Mark | None = Field(
        default=None, description="The mark between groups of three digits of a number."
    )
    skip: Skip = Field(default=Skip(), description="Lines to be passed over: {before: 3, after: 1}.")
    comment: Mark | None = Field(
        default=None, description="A line that begins with this character is no row."
    )
    header: StrictBool = Field(
        default=True, description="Whether the first line names the columns; else `columns` does."
    )
    columns: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="The names of the columns, where there is no header."
    )
    nulls: tuple[NullWord, ...] | None = Field(
        default=None,
        description="Cells that are no value, in every column; empty cells are none in any case. Default: "
        "NA, N/A, NaN, nan, null, NULL, None, `\\N`, - and #N/A in columns that otherwise hold numbers, "
        "booleans or dates. `[]`: none.",
    )
    trim: StrictBool = Field(default=False, description="Whether blanks around cells are taken off.")
    where: Expression | None = Field(
        default=None,
        description="SQL condition of the rows that are used. Those of which it is false or null are as if "
        "they were not in the table. Default: all rows.",
    )
    file_name: Expression = Field(
        default="file_name", description="SQL expression giving the media's path below `input`."
    )
    match: Literal["path", "basename", "stem"] = Field(
        default="path",
        description="What `file_name` gives: the path below `input`; or a base name, or one without its "
        "extension, that one media file of all the input has. Folders in front are left out.",
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

    @field_validator("records")
    @classmethod
    def _path_of_records(cls, path: str | None) -> str | None:
        if path is not None and not re.fullmatch(r"\$(\.[^.\[\]]+)*", path):
            raise ValueError(f"{path!r} is no path to a list; write $.annotations, or $ for the file itself")
        return path

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

    @model_validator(mode="after")
    def _text_options(self) -> Self:
        if self.header and self.columns is not None:
            raise ValueError("`columns` names columns where there is no header: write header: false too")
        if not self.header and self.columns is None:
            raise ValueError("without a header, `columns` has to name the columns")
        marks = {
            "delimiter": self.delimiter,
            "quote": '"' if self.quote is None else self.quote,
            "escape": self.escape,
            "comment": self.comment,
        }
        seen: dict[str, str] = {}
        for key, mark in marks.items():
            if mark and seen.setdefault(mark, key) != key:
                raise ValueError(f"`{seen[mark]}` and `{key}` cannot both be {mark!r}")
        if self.thousands is not None and (
            self.thousands == self.decimal or self.thousands in "0123456789-+eE"
        ):
            raise ValueError(f"`thousands` cannot be {self.thousands!r} where `decimal` is {self.decimal!r}")
        return self

    def for_digest(self) -> dict[str, Any]:
        """What decides its records, without its address. Options of text, and keys that came later, are in
        it where they say something, so that the digest of a job without them stays what it was."""
        values = self.model_dump(mode="json", exclude={"table", "name"})
        fields = type(self).model_fields
        unsaid = {key for key in (*TEXT_OPTIONS, *_LATER) if getattr(self, key) == fields[key].default}
        return {key: value for key, value in values.items() if key not in unsaid}

    @property
    def label(self) -> str:
        """What reports and findings call this source."""
        return self.name or self.table.shown
