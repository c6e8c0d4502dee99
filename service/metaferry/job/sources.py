"""The parts of a job that say how the rows of a table, or of a query, become records.

Checked values, frozen; nothing here reads a file. `model` puts them into a job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from metaferry.job.parts import Expression, Limit, Location, Number, Short
from metaferry.job.readers.keys import READER_KEYS, one_kind
from metaferry.job.readers.time_join import TIME_KEYS, Joined, MappedValue, TimeJoin, check_time_join
from metaferry.job.tables import Table, TableOptions, no_table_options


def key_paths(keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The steps of each key path. Raises ValueError for those that no document can have together."""
    from metaferry.lightly.key_paths import RESERVED_PREFIX, overlapping, split_path

    paths = {key: split_path(key) for key in keys}
    for key, path in paths.items():
        if any(step.startswith("[") for step in path):
            raise ValueError(f"{key!r}: a position in a list cannot be written; map the whole list")
        if path[0].startswith(RESERVED_PREFIX):
            raise ValueError(f"{key!r}: keys that begin with `{RESERVED_PREFIX}` are the consumer's own")
    for short, long in overlapping(paths.values()):
        raise ValueError(f"{'.'.join(short)!r} cannot hold a value and {'.'.join(long)!r} too")
    return paths


class SecondsColumn(Short):
    """The times that a row speaks of, in seconds of the video's presentation times."""

    short = "at"

    at: Expression | None = Field(default=None, description="SQL expression of one time.")
    from_: Expression | None = Field(
        default=None, alias="from", description="SQL expression of the time of the first frame."
    )
    to: Expression | None = Field(default=None, description="Of the time of the last frame.")
    until: Expression | None = Field(
        default=None, description="Of the time of the first frame that is no longer meant, in place of `to`."
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        _one_of({"at": self.at, "from": self.from_})
        _one_end(self.from_, self.to, self.until)
        return self


class FrameColumn(Short):
    """The frames that a row speaks of: one, a range, or those at a time in seconds."""

    short = "value"

    value: Expression | None = Field(default=None, description="SQL expression giving the frame's index.")
    from_: Expression | None = Field(
        default=None, alias="from", description="SQL expression of the index of the first frame of a range."
    )
    to: Expression | None = Field(default=None, description="Of that of the last frame, which is included.")
    until: Expression | None = Field(
        default=None, description="Of the first frame that is no longer meant, in place of `to`."
    )
    seconds: SecondsColumn | None = Field(
        default=None,
        description="Times in place of indices: an expression, {from, to}, or {from, until}. The frame "
        "nearest to each is meant, by the video's presentation times.",
    )
    base: Annotated[Literal[0, 1], Number] = Field(
        default=0, description="1 where the table counts frames from one."
    )
    max_gap: Annotated[float, Number] = Field(
        default=0.5,
        gt=0,
        allow_inf_nan=False,
        description="Most seconds from one of `seconds` to the nearest frame; a row beyond it is rejected.",
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        _one_of({"value": self.value, "from": self.from_, "seconds": self.seconds})
        _one_end(self.from_, self.to, self.until)
        if self.seconds is not None and "base" in self.model_fields_set:
            raise ValueError("`base` is of indices, and `seconds` has none")
        if self.seconds is None and self.max_gap != type(self).model_fields["max_gap"].default:
            raise ValueError("`max_gap` is for `seconds`")
        return self

    def for_digest(self) -> dict[str, Any]:
        """As it was before there were ranges, where it is one frame."""
        values = self.model_dump(mode="json", by_alias=True)
        if self.value is not None:
            return {"value": self.value, "base": self.base}
        return {key: value for key, value in values.items() if value is not None}


def _one_of(forms: dict[str, Any]) -> None:
    given = [key for key, value in forms.items() if value is not None]
    if len(given) != 1:
        which = " and ".join(f"`{key}`" for key in given) or "none of them"
        raise ValueError(f"should have one of {', '.join(f'`{key}`' for key in forms)}, and has {which}")


def _one_end(first: str | None, to: str | None, until: str | None) -> None:
    ends = (to is not None) + (until is not None)
    if first is None and ends:
        raise ValueError("`to` and `until` are ends of a range: write `from` too")
    if first is not None and ends != 1:
        raise ValueError(
            "a range has one end: `to`, which is included, or `until`, which is not"
            + (", and here are both" if ends else ", and here is none")
        )


#: Keys that came later than the digest: it has them where they say something.
_LATER: Final = ("query", "where", "match", "max_rejects", *TIME_KEYS)

_COMMENT: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
#: Characters of a query that stand for its name.
_SHOWN: Final = 48


class Source(TimeJoin, TableOptions):
    """One metadata table, one query over `tables`, or what a reader reads, and how its rows become
    records."""

    table: Location | None = Field(
        default=None,
        description="csv, tsv, parquet, arrow, jsonl, json (also .gz, .zst, .zip), globs, any fsspec URL. "
        "This, `query`, or what a reader reads.",
    )
    query: str | None = Field(
        default=None,
        min_length=1,
        description="One SELECT over the `tables` of the job, in place of `table`: "
        "[queries.md](queries.md). Its columns are `file_name`, `frame`, and key paths in the document.",
    )
    name: str | None = Field(
        default=None,
        min_length=1,
        description="Name in reports; default: the table's URL, or how the query begins.",
    )
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
        description="SQL expression of the frame index, or {value, base}; a range: {from, to} or "
        "{from, until}; times: {seconds}. Null: the whole video.",
    )
    metadata: dict[str, MappedValue] | None = Field(
        default=None,
        description="Key path in the document: SQL expression. Omit to take all other columns. Of "
        "`telemetry`: {linear: …}, {angular: …}, {nearest: …} or {previous: …}, each with an expression.",
    )
    max_rejects: Limit | None = Field(
        default=None,
        description="Elements of annotations that cannot be read and may be missing in what is counted: a "
        "number, or a share. Default: none. Of a table `policy.max_rejects` says it.",
    )

    @field_validator("metadata")
    @classmethod
    def _key_paths(cls, metadata: dict[str, MappedValue] | None) -> dict[str, MappedValue] | None:
        key_paths(metadata or ())
        return metadata

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.table is not None and self.query is not None:
            raise ValueError(
                "`table` and `query` exclude each other: name the table in `tables`, and read it in FROM"
            )
        one_kind(self, {"table": self.table, "query": self.query}, of="a source")
        if self.given is not None and (self.telemetry is None or self.telemetry.table is None):
            no_table_options(self, self.given.key)
        elif self.given is None and self.max_rejects is not None:
            raise ValueError("`max_rejects` is for what a reader reads: write it in `policy`, or in `tables`")
        if self.query is not None:
            given = next((key for key in TableOptions.model_fields if key in self.model_fields_set), None)
            if given is not None:
                raise ValueError(f"`{given}` says how a table is read: write it in `tables`, beside the URL")
            if self.metadata is not None:
                raise ValueError("the columns of a `query` are its key paths: name them there with AS")
        check_time_join(self, self.metadata or {})
        return self

    @property
    def sample_table(self) -> Table | None:
        """The table of samples that are joined by time; None where they come from elsewhere."""
        if self.telemetry is None or self.telemetry.table is None:
            return None
        said = {key: getattr(self, key) for key in TableOptions.model_fields if key in self.model_fields_set}
        return Table(table=self.telemetry.table, **said)

    @property
    def expressions(self) -> dict[str, str] | None:
        """The expression of each key path, however it is joined; None where all columns are taken."""
        if self.metadata is None:
            return None
        return {
            key: value.text if isinstance(value, Joined) else value for key, value in self.metadata.items()
        }

    @property
    def location(self) -> Location:
        """Where its table is; to be asked only of a source that has one."""
        if self.table is None:
            raise ValueError("a query, and what a reader reads, have no location")
        return self.table

    def for_digest(self) -> dict[str, Any]:
        """What decides its records, without its address. Options of text, and keys that came later, are in
        it where they say something, so that the digest of a job without them stays what it was."""
        values = self.model_dump(mode="json", exclude={"table", "name", *READER_KEYS})
        fields = type(self).model_fields
        unsaid = self.unsaid | {key for key in _LATER if getattr(self, key) == fields[key].default}
        if self.table is None and (self.telemetry is None or self.telemetry.table is None):
            unsaid |= set(TableOptions.model_fields)
        if self.frame is not None:
            values["frame"] = self.frame.for_digest()
        return {key: value for key, value in values.items() if key not in unsaid}

    @property
    def label(self) -> str:
        """What reports and findings call this source."""
        if self.name or self.table is not None:
            return self.name or self.location.shown
        if self.given is not None:
            return self.given.value.shown
        text = " ".join(_COMMENT.sub(" ", self.query or "").split())
        return f"query {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}"
