"""The parts of a job: locations, media rules, schema, policy.

Each is validated and frozen, and refuses unknown keys. `model.py` puts them together. Nothing here reads
a file or opens a storage; no repr shows credentials.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    StrictBool,
    Tag,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from metaferry.errors import UsageError
from metaferry.masking import remember, remember_url, showable

#: Schemes of one kind of store: options for one of them apply to all.
ALIASES: tuple[frozenset[str], ...] = (
    frozenset({"s3", "s3a"}),
    frozenset({"gs", "gcs"}),
    frozenset({"az", "abfs", "abfss"}),
    frozenset({"file", "local"}),
)


def merged_options(first: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """fsspec options over others: the second wins, key by key, also inside mappings."""
    both = {
        key: merged_options(first[key], over[key])
        for key in first.keys() & over.keys()
        if isinstance(first[key], Mapping) and isinstance(over[key], Mapping)
    }
    return {**first, **over, **both}


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Short(Model):
    """A model that can be written as a single value when only one of its fields is given."""

    short: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _from_short(cls, value: Any) -> Any:
        return {cls.short: value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        full = handler.resolve_ref_schema(handler(core_schema))
        return {"anyOf": [{"type": "string", "minLength": 1}, dict(full)]}


def _expression(value: Any) -> Any:
    """A constant in place of an expression: `site: 3` is the SQL `3`."""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def _limit(value: Any) -> Any:
    """A count becomes an int; a share stays text, validated."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"should be a number of rows or a share such as 5%, is {json.dumps(value)}")
    text = str(value).strip()
    if text.endswith("%"):
        try:
            share = float(text[:-1])
        except ValueError:
            share = math.nan
        if 0 <= share <= 100:
            return text
    elif re.fullmatch(r"[0-9]+", text):
        return int(text)
    raise ValueError(f"should be a number from 0 or a share from 0% to 100%, is {text!r}")


def _share(value: Any) -> Any:
    """A share stays text, validated; a bare 0 is 0%."""
    text = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if text in ("0", "0%"):
        return "0%"
    if text.endswith("%"):
        return _limit(text)
    raise ValueError(f"should be a share such as 95%, is {json.dumps(value)}")


def with_a_host(url: str) -> str:
    """The URL, if it has a clear host. ValueError otherwise, showing nothing of it, and for chained URLs."""
    from metaferry.urls import NO_CHAIN, NO_CHAIN_ADVICE, faulty_authority, is_chained

    if faulty_authority(url):
        raise ValueError(
            "the port in this URL is no number; in a user name or a password `/` is written %2F, `?` %3F, "
            "`#` %23, `@` %40 and `:` %3A"
        )
    if is_chained(url):
        raise ValueError(f"{showable(url)} {NO_CHAIN}: {NO_CHAIN_ADVICE}")
    return url


Expression = Annotated[
    str, BeforeValidator(_expression, json_schema_input_type=str | int | float | bool), Field(min_length=1)
]
Limit = Annotated[int | str, BeforeValidator(_limit, json_schema_input_type=int | str)]
Share = Annotated[str, BeforeValidator(_share)]
Number = BeforeValidator(_no_bool)


#: The state folder below the Lightly datasource, where the job names none.
STATE: Final = ".metaferry/"


class Location(Short):
    """A URL with the options of its file system. `s3://bucket/prefix`, `gs://…`, `az://…`, a local path …"""

    short = "url"

    url: str = Field(min_length=1, description="A URL of any fsspec file system, or a path.")
    options: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,  # may hold credentials: never printed
        description="fsspec options for this location alone, over `storage:`.",
    )

    @field_validator("url")
    @classmethod
    def _no_home(cls, url: str) -> str:
        if url == "~" or url.startswith("~/"):
            raise ValueError("`~` is not expanded; write ${HOME}/… instead")
        return with_a_host(url)

    @classmethod
    def named(cls, url: str, options: Mapping[str, Any] | None = None) -> Location:
        """The location that a call or a command names. UsageError for a URL that cannot be used."""
        try:
            checked = cls._no_home(url)
        except ValueError as error:
            raise UsageError(str(error)) from None
        return Location(url=checked, options=dict(options or {}))

    def model_post_init(self, context: Any) -> None:
        """Registers its secrets, so that no log record shows them."""
        remember(self.options)
        remember_url(self.url)

    @property
    def shown(self) -> str:
        """The URL for people: without user name, password or signature."""
        return showable(self.url)

    @property
    def scheme(self) -> str:
        """The URL's scheme in lower case; `file` for a path."""
        head, mark, _ = self.url.partition("://")
        return head.rpartition("::")[2].lower() if mark else "file"

    def below(self, name: str) -> Location:
        """The folder `name` below this one, with the same options, and with the signature of the URL."""
        from metaferry.urls import split_signature

        url, signature = split_signature(self.url)
        mark = "" if url.endswith("://") else "/"
        return Location(
            url=f"{url.removesuffix('/') if mark else url}{mark}{name}{signature}", options=self.options
        )

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [("url", self.shown)]


class Inventory(Location):
    """An inventory report of the input's bucket, used instead of a listing."""

    url: str = Field(
        min_length=1,
        description="The manifest.json of an S3 inventory, a Cloud Storage inventory report or an Azure blob "
        "inventory; or the folder that reports are delivered to: the newest one is taken.",
    )
    max_age: Annotated[float, Number] = Field(
        default=48.0,
        gt=0,
        allow_inf_nan=False,
        description="Hours after which a report is old, which is a finding.",
    )


class MediaRules(Model):
    """Which files of the input are media of this job. Globs: `**/` matches no folder too."""

    include: tuple[str, ...] = Field(
        default=(), description="Globs on the path below `input`. Empty: every known media file."
    )
    exclude: tuple[str, ...] = Field(default=(), description="Globs taken out again.")
    inventory: Inventory | None = Field(
        default=None, description="An inventory report that tells the media, in place of a listing."
    )

    @field_validator("include", "exclude")
    @classmethod
    def _globs(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        from metaferry.lightly.globs import glob_regex

        for pattern in patterns:
            if not pattern or pattern.startswith(("/", "./", "../")):
                raise ValueError(f"{pattern!r} can match nothing: paths are relative to `input`")
            try:
                re.compile(glob_regex(pattern))
            except (ValueError, re.error) as error:
                raise ValueError(f"{pattern!r} is no glob: {error}") from None
        return patterns


class SchemaEntry(Model):
    """One entry of schema.json, as the job file may spell it out."""

    name: str = Field(min_length=1, description="What the consumer shows.")
    path: str = Field(min_length=1, description="Key path below `metadata`.")
    default_value: Any = Field(alias="defaultValue", description="What a document without the key counts as.")
    value_data_type: str = Field(
        alias="valueDataType",
        description="NUMERIC_INT, NUMERIC_FLOAT, CATEGORICAL_INT, CATEGORICAL_STRING, CATEGORICAL_BOOLEAN …",
    )


class Infer(Model):
    """Entries from the data: what is in schema.json stays, what is new is added."""

    categorical_integers: Annotated[int | None, Number] = Field(
        default=None,
        ge=2,
        description="Integer columns with at most this many distinct values become CATEGORICAL_INT.",
    )
    widen: StrictBool = Field(
        default=False,
        description="Whether an entry NUMERIC_INT that an earlier run inferred, and nobody edited since, "
        "becomes NUMERIC_FLOAT when its column has numbers with fractions. Its documents are written again.",
    )

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, value: Any) -> Any:
        """`infer`, `{infer: {…}}` and, from a program, the settings themselves."""
        if value == "infer":
            return {}
        if isinstance(value, Mapping) and "infer" in value:
            inner = value["infer"] if value["infer"] is not None else {}
            return {**{k: v for k, v in value.items() if k != "infer"}, **inner}
        return value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        full = dict(handler.resolve_ref_schema(handler(core_schema)))
        wrapped = {
            "type": "object",
            "properties": {"infer": full},
            "required": ["infer"],
            "additionalProperties": False,
        }
        return {"anyOf": [{"const": "infer"}, wrapped]}


def _listed_kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "path"
    return "list" if isinstance(value, list | tuple) else None


class GivenSchema(Model):
    """Entries that are not inferred: added to those in place, or, where `exact`, instead of them."""

    entries: Annotated[
        Annotated[tuple[SchemaEntry, ...], Tag("list")] | Annotated[str, Tag("path"), Field(min_length=1)],
        Discriminator(
            _listed_kind,
            custom_error_type="schema_kind",
            custom_error_message="should be a list of entries, or the path of a schema.json",
        ),
    ] = Field(description="A list of entries, or the path of a schema.json.")
    exact: StrictBool = Field(
        default=False, description="Whether entries in place that are not among them are removed."
    )

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        entries = showable(self.entries) if isinstance(self.entries, str) else self.entries
        return [("entries", entries), ("exact", self.exact)]


def _schema_kind(value: Any) -> str | None:
    if isinstance(value, GivenSchema):
        return "given"
    if isinstance(value, Mapping) and not value.keys().isdisjoint(("entries", "exact")):
        return None if "infer" in value else "given"
    if isinstance(value, Infer | Mapping) or value == "infer":
        return "infer"
    if isinstance(value, str):
        return "path"
    return "entries" if isinstance(value, list | tuple) else None


Schema = Annotated[
    Annotated[Infer, Tag("infer")]
    | Annotated[tuple[SchemaEntry, ...], Tag("entries")]
    | Annotated[str, Tag("path"), Field(min_length=1)]
    | Annotated[GivenSchema, Tag("given")],
    Discriminator(
        _schema_kind,
        custom_error_type="schema_kind",
        custom_error_message="should be `infer`, a list of entries, the path of a schema.json, "
        "or {entries, exact}",
    ),
]


class Policy(Model):
    """The safety limits of a run. A limit is a number, or a share such as `5%`."""

    max_rejects: Limit = Field(
        default=0, description="Rejected rows a run may have and still write: a number, or a share."
    )
    rejects_fail: StrictBool = Field(
        default=True,
        description="Whether rejected rows within `max_rejects` are a failure once everything else is "
        "written (exit code 3); else the run ends with 0 and a warning. Failed documents are 3 always.",
    )
    unmatched: Literal["report", "reject"] = Field(
        default="report", description="Rows that name no media: only reported, or rejected."
    )
    delete: Literal["never", "orphans"] = Field(
        default="never", description="Documents whose media or records are gone."
    )
    max_delete: Limit = Field(
        default="10%", description="Orphans a run may delete: a number, or a share of the documents."
    )
    existing: Literal["stop", "replace"] = Field(
        default="stop",
        description="Documents in place that no run is known to have written: where one that would be "
        "replaced or deleted has a key that no table gives, stop before the first write; or replace them.",
    )
    allow_empty: StrictBool = Field(
        default=False,
        description="Whether a run goes on where it can do nothing: a source of whose rows none is used, "
        "an input without media, a glob of tables that matches no file yet. Else it stops before its "
        "first write.",
    )
    min_used: Share = Field(
        default="0%",
        description="Least share of the rows of each source that are used; rows of media that the job leaves "
        "out do not count. Below it, stop before the first write.",
    )
    min_coverage: Share = Field(
        default="0%",
        description="Least share of the media that have metadata. Below it, stop before the first write.",
    )
    max_cost: Annotated[float | None, Number] = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Most that the requests of a run may cost, in the currency of its prices "
        "([price.md](price.md)); above it, and where that is not known, stop before the first write.",
    )
