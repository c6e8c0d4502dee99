"""The parts of a job that say what a table is: where it lies, and what its files do not tell.

Checked values, frozen; nothing here reads a file. `sources` says how its rows become records.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, field_validator, model_validator

from metaferry.job.parts import Limit, Location, Model, Number, Short
from metaferry.job.readers.keys import READER_KEYS, ReaderKeys, one_kind
from metaferry.masking import remember


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


class Skip(Model):
    """Lines of a text table that are neither header nor rows."""

    before: Annotated[int, Number] = Field(default=0, ge=0, description="Lines before the header.")
    after: Annotated[int, Number] = Field(
        default=0, ge=0, description="Lines after the header, such as a row of units."
    )


class TableOptions(Model):
    """What a table is, as far as its files do not tell."""

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

    @property
    def location(self) -> Location:
        """Where the table is."""
        raise NotImplementedError

    @property
    def unsaid(self) -> set[str]:
        """The options that say nothing, so that digests of jobs without them stay what they were."""
        fields = TableOptions.model_fields
        return {key for key in (*TEXT_OPTIONS, "records") if getattr(self, key) == fields[key].default}


class Table(TableOptions, ReaderKeys, Short):
    """A table that queries read: its location, or {table, …} with options of its format; or what a reader
    reads, whose relations are named `NAME.images` in FROM."""

    short = "table"

    table: Location | None = Field(
        default=None,
        description="csv, tsv, parquet, arrow, jsonl, json (also .gz, .zst, .zip), globs, any fsspec URL.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,  # may hold credentials: never printed
        description="fsspec options for this table alone, over `storage:`.",
    )
    max_rejects: Limit | None = Field(
        default=None,
        description="Rows that cannot be read and may be missing in queries: a number, or a share. "
        "Default: none, whatever `policy.max_rejects` says.",
    )

    @model_validator(mode="before")
    @classmethod
    def _location_alone(cls, value: Any) -> Any:
        """`{url, options}` is the long form of a location here too."""
        if isinstance(value, Mapping) and "url" in value:
            options = {"options": value["options"]} if "options" in value else {}
            more = {key: item for key, item in value.items() if key not in ("url", "options")}
            return {**more, "table": {"url": value["url"], **options}}
        return value

    def model_post_init(self, context: Any) -> None:
        """Registers its secrets, so that no log record shows them."""
        remember(self.options)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        one_kind(self, {"table": self.table}, of="a table")
        if self.given is not None:
            no_table_options(self, self.given.key)
            if self.options:
                raise ValueError(f"`options` belongs to a table: write it below `{self.given.key}`")
        return self

    @property
    def location(self) -> Location:
        """Where it is, with the options of this table; to be asked only of one that no reader reads."""
        if self.table is None:
            raise ValueError("what a reader reads has no location of its own")
        return Location(url=self.table.url, options={**self.table.options, **self.options})

    def for_digest(self) -> dict[str, Any]:
        """What decides its rows, without its address and without what a reader reads."""
        if self.given is not None:
            return {}
        return self.model_dump(
            mode="json", exclude={"table", "options", "max_rejects", *READER_KEYS, *self.unsaid}
        )


def no_table_options(owner: TableOptions, key: str) -> None:
    """Raises ValueError for options of tables beside a reader's key, where they have no meaning."""
    given = next((name for name in TableOptions.model_fields if name in owner.model_fields_set), None)
    if given is not None:
        raise ValueError(f"`{given}` says how a table is read, and `{key}` is none: leave it out")
