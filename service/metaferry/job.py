"""The job: what the user asks for, as one checked value.

A job comes from a YAML file (`Job.load`), a mapping (`Job.from_mapping`) or keyword arguments.
It is the only configuration there is: flags are `--set key=value` over it. Nothing here does I/O
beyond reading the job file, and nothing opens a storage.

Relative paths are relative to the job file. `${VAR}` is taken from the environment; a variable
that is not set is a fault in the job file, named with its place.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Location(_Model):
    """A URL with the options of its file system. `s3://bucket/prefix`, `gs://…`, `az://…`, a local path …"""

    url: str = Field(min_length=1, description="A URL of any fsspec file system, or a path.")
    options: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,  # may hold credentials: never printed
        description="fsspec options for this location alone, over `storage:`.",
    )


class MediaRules(_Model):
    """Which files of the input are media of this job. Globs: `**/` matches no folder too."""

    include: tuple[str, ...] = Field(
        default=(), description="Globs on the path below `input`. Empty: every known media file."
    )
    exclude: tuple[str, ...] = Field(default=(), description="Globs taken out again.")


class FrameColumn(_Model):
    """The frame index of a row."""

    value: str = Field(description="SQL expression giving the frame's index.")
    base: Literal[0, 1] = Field(default=0, description="1 where the table counts frames from one.")


class Source(_Model):
    """One metadata table and how its rows become records."""

    table: Location = Field(
        description="csv, tsv, parquet, jsonl (also .gz, .zst), globs, from any fsspec URL."
    )
    name: str | None = Field(default=None, description="Name in reports; default: the table's URL.")
    format: Literal["csv", "tsv", "parquet", "jsonl"] | None = Field(
        default=None, description="Where the file name does not tell it."
    )
    file_name: str = Field(
        default="file_name", description="SQL expression giving the media's path below `input`."
    )
    frame: FrameColumn | None = Field(
        default=None,
        description="SQL expression of the frame index, or {value, base}. Null: the whole video.",
    )
    metadata: dict[str, str] | None = Field(
        default=None,
        description="Key path in the document: SQL expression. Omit to take all other columns.",
    )

    @property
    def label(self) -> str:
        """What reports and findings call this source."""
        return self.name or self.table.url


class SchemaEntry(_Model):
    """One entry of schema.json, as the job file may spell it out."""

    name: str = Field(min_length=1)
    path: str = Field(min_length=1)
    default_value: Any = Field(alias="defaultValue")
    value_data_type: str = Field(alias="valueDataType")


class Infer(_Model):
    """Entries from the data: what is in schema.json stays, what is new is added."""

    categorical_integers: int | None = Field(
        default=None,
        ge=2,
        description="Integer columns with at most this many distinct values become CATEGORICAL_INT.",
    )


Limit = Annotated[str | int, Field(union_mode="left_to_right")]


class Policy(_Model):
    """How careful a run is. A limit is a number, or a share such as `5%`."""

    max_rejects: int | str = Field(
        default=0, description="Rejected rows a run may have and still write: a number, or a share."
    )
    unmatched: Literal["report", "reject"] = Field(
        default="report", description="Rows that name no media: only reported, or rejected."
    )
    delete: Literal["never", "orphans"] = Field(
        default="never", description="Documents whose media or records are gone."
    )
    max_delete: int | str = Field(
        default="10%", description="Orphans a run may delete: a number, or a share of the documents."
    )


class Job(_Model):
    """Everything one run needs to know."""

    input: Location = Field(description="Where the media are: list and read.")
    lightly: Location | None = Field(
        default=None, description="Where `.lightly/metadata` is kept: list, read, write. Default: input."
    )
    state: Location | None = Field(
        default=None, description="Caches, ledger and reports. Default: `.metaferry/` beside `.lightly/`."
    )
    storage: dict[str, dict[str, Any]] = Field(
        default_factory=dict, repr=False, description="fsspec options by URL scheme."
    )
    media: MediaRules = MediaRules()
    sources: tuple[Source, ...] = Field(min_length=1)
    schema_: Infer | tuple[SchemaEntry, ...] | str = Field(
        default=Infer(),
        alias="schema",
        description="`infer`, {infer: {…}}, a list of entries, or the path of a schema.json.",
    )
    policy: Policy = Policy()
    concurrency: int = Field(default=64, ge=1, le=4096, description="Requests under way at once.")
    retry_for: float = Field(default=300.0, ge=0, description="Seconds one request is retried for.")
    memory_limit: str = Field(default="1GB", description="Memory of the planning engine; beyond, it spills.")
    scratch: str | None = Field(default=None, description="Folder for spilling; default: the system's.")
    keep_runs: int = Field(default=20, ge=1, description="Runs whose reports are kept.")
