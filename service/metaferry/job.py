"""The job: what the user asks for, as one checked value.

A job comes from a YAML file (`Job.load`), a mapping (`Job.from_mapping`) or keyword arguments.
It is the only configuration there is: flags are `--set key=value` over it. Nothing here does I/O
beyond reading the job file (`jobfile.py`, which names the line of each fault), and nothing opens
a storage.

In a file and in a mapping, relative paths are relative to the job file (or `base`), and `${VAR}`
is taken from the environment; a variable that is not set is a fault, named with its place.
Credentials live in `storage`, in `options` and in URLs: none of them is in a repr or in `digest`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    Tag,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from metaferry.masking import remember, remember_url

#: Spellings of one kind of store: options given for one of them hold for all.
ALIASES: tuple[frozenset[str], ...] = (
    frozenset({"s3", "s3a"}),
    frozenset({"gs", "gcs"}),
    frozenset({"az", "abfs", "abfss"}),
    frozenset({"file", "local"}),
)

#: Options that say which store is meant; they are part of the digest, all others are not.
_ADDRESSING = ("endpoint_url", "account_name", "account_host", "host", "port", "protocol")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class _Short(_Model):
    """A model that may be written as one value where only one of its fields matters."""

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
    """A constant may stand where an expression does: `site: 3` is the SQL `3`."""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def _limit(value: Any) -> Any:
    """A count stays or becomes an int; a share stays text, checked."""
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


Expression = Annotated[
    str, BeforeValidator(_expression, json_schema_input_type=str | int | float | bool), Field(min_length=1)
]
Limit = Annotated[int | str, BeforeValidator(_limit, json_schema_input_type=int | str)]
Number = BeforeValidator(_no_bool)


#: The state folder below the Lightly datasource, where the job names none.
STATE: Final = ".metaferry/"


class Location(_Short):
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
        return url

    def model_post_init(self, context: Any) -> None:
        """Makes its secrets known to the log."""
        remember(self.options)
        remember_url(self.url)

    @property
    def shown(self) -> str:
        """The URL for people: without user name, password or signature."""
        from metaferry.storage.open import redact

        return redact(self.url)

    @property
    def scheme(self) -> str:
        """The URL's scheme in lower case; `file` for a path."""
        head, mark, _ = self.url.partition("://")
        return head.rpartition("::")[2].lower() if mark else "file"

    def below(self, name: str) -> Location:
        """The folder `name` below this one, with the same options."""
        mark = "" if self.url.endswith("://") else "/"
        return Location(
            url=f"{self.url.removesuffix('/') if mark else self.url}{mark}{name}", options=self.options
        )

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [("url", self.shown)]


class Inventory(Location):
    """A report of what is in the input's bucket, in place of a listing."""

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


class MediaRules(_Model):
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


class FrameColumn(_Short):
    """The frame index of a row."""

    short = "value"

    value: Expression = Field(description="SQL expression giving the frame's index.")
    base: Annotated[Literal[0, 1], Number] = Field(
        default=0, description="1 where the table counts frames from one."
    )


class Source(_Model):
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


class SchemaEntry(_Model):
    """One entry of schema.json, as the job file may spell it out."""

    name: str = Field(min_length=1, description="What the consumer shows.")
    path: str = Field(min_length=1, description="Key path below `metadata`.")
    default_value: Any = Field(alias="defaultValue", description="What a document without the key counts as.")
    value_data_type: str = Field(
        alias="valueDataType",
        description="NUMERIC_INT, NUMERIC_FLOAT, CATEGORICAL_INT, CATEGORICAL_STRING, CATEGORICAL_BOOLEAN …",
    )


class Infer(_Model):
    """Entries from the data: what is in schema.json stays, what is new is added."""

    categorical_integers: Annotated[int | None, Number] = Field(
        default=None,
        ge=2,
        description="Integer columns with at most this many distinct values become CATEGORICAL_INT.",
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


def _schema_kind(value: Any) -> str | None:
    if isinstance(value, Infer | Mapping) or value == "infer":
        return "infer"
    if isinstance(value, str):
        return "path"
    return "entries" if isinstance(value, list | tuple) else None


Schema = Annotated[
    Annotated[Infer, Tag("infer")]
    | Annotated[tuple[SchemaEntry, ...], Tag("entries")]
    | Annotated[str, Tag("path"), Field(min_length=1)],
    Discriminator(
        _schema_kind,
        custom_error_type="schema_kind",
        custom_error_message="should be `infer`, a list of entries, or the path of a schema.json",
    ),
]


class Policy(_Model):
    """How careful a run is. A limit is a number, or a share such as `5%`."""

    max_rejects: Limit = Field(
        default=0, description="Rejected rows a run may have and still write: a number, or a share."
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


@dataclass(frozen=True, slots=True)
class _Origin:
    """What a job was read from. No two of them differ: it is no part of what a job says."""

    mapping: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)


class Metrics(_Model):
    """Where the figures of each sync are sent at its end. What cannot be reached fails no run."""

    job: str | None = Field(
        default=None,
        min_length=1,
        description="The label `metaferry_job` of every metric; default: the Lightly datasource's URL.",
    )
    gateway: str | None = Field(
        default=None,
        description="URL of a Prometheus Pushgateway; `user:password@` is sent as basic authentication.",
    )
    otlp: str | None = Field(
        default=None,
        description="URL of an OpenTelemetry collector that takes OTLP over HTTP; without a path, "
        "`/v1/metrics` is added. Needs the extra `otlp`.",
    )
    timeout: Annotated[float, Number] = Field(
        default=5.0,
        gt=0,
        le=60,
        allow_inf_nan=False,
        description="Seconds that both together get at the end of a run.",
    )

    @field_validator("gateway", "otlp")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is not None and not re.match(r"https?://([^/?#@]*@)?[^/?#@]", url):
            raise ValueError("should be an http:// or https:// URL")  # never shown: it may hold a password
        return url

    @field_validator("gateway")
    @classmethod
    def _no_query(cls, url: str | None) -> str | None:
        if url is not None and re.search(r"[?#]", url):
            raise ValueError("should be a URL without a query: the gateway's paths are put behind it")
        return url

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        shown = {name: Location(url=url).shown for name, url in self.targets.items()}
        return [("job", self.job), *shown.items(), ("timeout", self.timeout)]

    @property
    def targets(self) -> dict[str, str]:
        """`gateway` and `otlp`, where they are given, with the credentials that they may hold."""
        given = {"gateway": self.gateway, "otlp": self.otlp}
        return {name: url for name, url in given.items() if url is not None}


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
    media: MediaRules = Field(default=MediaRules(), description="Which files are media of this job.")
    sources: tuple[Source, ...] = Field(min_length=1, description="The metadata tables; later ones win.")
    schema_: Schema = Field(
        default=Infer(),
        alias="schema",
        description="`infer`, {infer: {…}}, a list of entries, or the path of a schema.json.",
    )
    policy: Policy = Field(default=Policy(), description="How careful a run is.")
    concurrency: Annotated[int, Number] = Field(
        default=256,
        ge=1,
        le=4096,
        description="Most requests under way at once; a run begins with 32 and widens while that pays.",
    )
    retry_for: Annotated[float, Number] = Field(
        default=300.0, ge=0, allow_inf_nan=False, description="Seconds one request is retried for."
    )
    memory_limit: str = Field(
        default="384MB",
        pattern=r"^[0-9]+(\.[0-9]+)? ?([KMGT]i?)?B$",
        description="Memory of the planning engine; beyond, it spills.",
    )
    scratch: str | None = Field(default=None, description="Folder for spilling; default: the system's.")
    transport: Literal["auto", "fsspec", "obstore"] = Field(
        default="auto",
        description="How S3, GCS and Azure are spoken to: `auto` writes and reads through obstore where "
        "it does exactly what fsspec would; `obstore` fails where it cannot; `fsspec` never uses it.",
    )
    workers: Annotated[int | Literal["auto"], Number] = Field(
        default="auto",
        ge=1,
        le=256,
        description="Processes that write documents. `auto`: several where one event loop is the limit.",
    )
    max_rate: Annotated[float | None, Number] = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Most requests a second that a run sends to the Lightly datasource; default: no limit.",
    )
    verify: str = Field(
        default="never",
        description="What is read back and compared after a run's writes: `never`, `sample 1%`, `all`. "
        "The checksum that the store answers with is compared in any case.",
    )
    lease_for: Annotated[float, Number] = Field(
        default=60.0,
        ge=5,
        allow_inf_nan=False,
        description="Seconds after which the lease of a run that died elsewhere is free.",
    )
    lease_wait: Annotated[float, Number] = Field(
        default=90.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds a sync waits for another run on the same datasource to end.",
    )
    grace: Annotated[float, Number] = Field(
        default=20.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds an interrupted run may finish what is under way.",
    )
    keep_runs: Annotated[int, Number] = Field(default=20, ge=1, description="Runs whose reports are kept.")
    metrics: Metrics = Field(default=Metrics(), description="Where the figures of each sync are sent.")

    _origin: _Origin = PrivateAttr(default_factory=_Origin)

    @field_validator("verify")
    @classmethod
    def _share(cls, text: str) -> str:
        if text in ("never", "all"):
            return text
        match = re.fullmatch(r"sample ([0-9]+(?:\.[0-9]+)?)%", text)
        if match is None or not 0 < float(match[1]) <= 100:
            raise ValueError(f"should be never, all, or a share such as sample 1%, is {text!r}")
        return text

    @property
    def verified_share(self) -> float:
        """The share of the written documents that is read back, from 0 to 1."""
        if self.verify.startswith("sample"):
            return float(self.verify.removeprefix("sample ").rstrip("%")) / 100
        return 1.0 if self.verify == "all" else 0.0

    @field_validator("storage")
    @classmethod
    def _schemes(cls, storage: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for scheme in storage:
            if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
                raise ValueError(f"{scheme!r} is no URL scheme: write s3, gs, az, …")
        return storage

    @field_validator("schema_")
    @classmethod
    def _entries(cls, value: Infer | tuple[SchemaEntry, ...] | str) -> Infer | tuple[SchemaEntry, ...] | str:
        if isinstance(value, tuple):
            from metaferry.errors import SchemaError
            from metaferry.lightly.schema import check_entries

            try:
                check_entries([entry.model_dump(by_alias=True) for entry in value], where="")
            except SchemaError as error:
                raise ValueError(error.message.lstrip(": ")) from None
        return value

    @field_validator("sources")
    @classmethod
    def _names(cls, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        named = [source.name for source in sources if source.name is not None]
        for name in named:
            if named.count(name) > 1:
                raise ValueError(f"two sources are named {name!r}")
        return sources

    def model_post_init(self, context: Any) -> None:
        """Makes its secrets known to the log, which then shows none of them, whoever says it."""
        remember(self.storage)
        for url in self.metrics.targets.values():
            remember_url(url)

    # -- where a job comes from

    @classmethod
    def load(cls, path: str | PathLike[str], overrides: Sequence[str] = ()) -> Self:
        """The job of a YAML file, with `key=value` overrides typed as YAML.

        Raises JobError that lists every fault with its line.
        """
        from metaferry.jobfile import load_job

        return load_job(cls, path, overrides)

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, Any],
        *,
        base: str | PathLike[str] = ".",
        overrides: Sequence[str] = (),
    ) -> Self:
        """The job that a mapping of a job file's shape describes; relative paths are relative to `base`.

        Raises JobError that lists every fault with its key.
        """
        from metaferry.jobfile import job_of

        return job_of(cls, mapping, base=base, overrides=overrides)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema of the job file, for editors and for docs/job-file.md."""
        schema = cls.model_json_schema(by_alias=True, mode="validation")
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "metaferry job", **schema}

    # -- what it means

    @property
    def origin(self) -> Mapping[str, Any] | None:
        """What it was read from, paths absolute, `${VAR}` as written; None for one made of values.

        A copy with other values keeps it: compare before use (`jobkept.py`).
        """
        return self._origin.mapping

    def read_from(self, origin: Mapping[str, Any]) -> Self:
        """This job, which remembers what it was read from."""
        self._origin = _Origin(origin)
        return self

    @property
    def lightly_location(self) -> Location:
        """Where `.lightly/metadata` is."""
        return self.lightly or self.input

    @property
    def state_location(self) -> Location:
        """Where caches, ledger and reports are."""
        return self.state or self.lightly_location.below(STATE)

    @property
    def label(self) -> str:
        """What metrics call this job."""
        return self.metrics.job or self.lightly_location.shown.rstrip("/") or "/"

    def storage_options(self, location: Location) -> dict[str, Any]:
        """The fsspec options of a location: those of its scheme, and its own over them."""
        scheme = location.scheme
        family = next((names for names in ALIASES if scheme in names), frozenset({scheme}))
        options: dict[str, Any] = {}
        for name in sorted(family - {scheme}):
            options |= self.storage.get(name, {})
        return options | self.storage.get(scheme, {}) | location.options

    def with_storage(self, options: Mapping[str, Mapping[str, Any]]) -> Self:
        """The same job with fsspec options, by scheme, over those that it has; mappings are merged."""
        storage = dict(self.storage)
        for scheme, given in options.items():
            family = next((names for names in ALIASES if scheme in names), frozenset({scheme}))
            for name in {scheme} | (family & storage.keys()):
                storage[name] = _merged(storage.get(name, {}), given)
        return self.model_copy(update={"storage": storage})

    def digest(self) -> str:
        """SHA-256 (hex) over what decides the documents: where, which tables, which mapping, schema, policy.

        Without credentials, limits and settings that only change how fast a run is.
        """
        decides = {
            "input": self._address(self.input),
            "lightly": self._address(self.lightly_location),
            "media": self.media.model_dump(mode="json", exclude={"inventory"})
            | ({"inventory": self._address(self.media.inventory)} if self.media.inventory else {}),
            "sources": [
                {
                    **source.model_dump(mode="json", exclude={"table", "name"}),
                    "table": self._address(source.table),
                }
                for source in self.sources
            ],
            "schema": self.model_dump(mode="json", include={"schema_"}),
            "policy": {"unmatched": self.policy.unmatched, "delete": self.policy.delete},
        }
        text = json.dumps(decides, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _address(self, location: Location) -> dict[str, str]:
        options = self.storage_options(location)
        client = options.get("client_kwargs")
        if isinstance(client, Mapping):
            options = {**client, **options}
        named = {name: str(options[name]) for name in _ADDRESSING if options.get(name) is not None}
        return {"url": location.shown.rstrip("/"), **named}


def _merged(first: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(first[key], over[key])
        for key in first.keys() & over.keys()
        if isinstance(first[key], Mapping) and isinstance(over[key], Mapping)
    }
    return {**first, **over, **both}
