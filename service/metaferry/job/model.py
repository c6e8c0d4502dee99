"""The job: what the user asks for, as one validated value.

A job comes from a YAML file (`Job.load`), a mapping (`Job.from_mapping`) or keyword arguments.
It is the only configuration: flags are `--set key=value` over it. The only I/O is reading the job file
(`loader.py`, which names the line of each fault); no storage is opened.

In a file and in a mapping, relative paths are relative to the job file (or `base`), and `${VAR}`
is taken from the environment; an unset variable is a fault that names its place.
Credentials are in `storage`, in `options` and in URLs, and never in a repr or in `digest`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PrivateAttr,
    field_validator,
)

from metaferry.job.backup import Backup
from metaferry.job.loader import Loadable, job_of, load_job
from metaferry.job.outputs import Metrics, RunPage
from metaferry.job.parts import (
    ALIASES,
    STATE,
    GivenSchema,
    Infer,
    Location,
    MediaRules,
    Number,
    Policy,
    Schema,
    merged_options,
)
from metaferry.job.places import TextPlaces
from metaferry.job.prices import Prices
from metaferry.job.readers.keys import check_reader_name
from metaferry.job.sources import Source
from metaferry.job.tables import Table
from metaferry.masking import remember, remember_url, showable
from metaferry.urls import is_served, schemes_like


@dataclass(frozen=True, slots=True)
class _Origin:
    """The mapping that a job was read from. Ignored when jobs are compared."""

    mapping: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    places: TextPlaces = field(default=TextPlaces(), compare=False, repr=False)


class Job(Loadable):
    """Everything one run needs to know."""

    input: Location = Field(description="Where the media are: list and read.")
    lightly: Location | None = Field(
        default=None, description="Where `.lightly/metadata` is kept: list, read, write. Default: input."
    )
    state: Location | None = Field(
        default=None, description="Caches, ledger and reports. Default: `.metaferry/` beside `.lightly/`."
    )
    storage: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        repr=False,
        description="fsspec options by URL scheme; `follow_redirects: true` among those of S3, Google Cloud "
        "Storage or Azure has redirects followed ([storage.md](storage.md#redirects)).",
    )
    media: MediaRules = Field(default=MediaRules(), description="Which files are media of this job.")
    tables: dict[str, Table] = Field(
        default_factory=dict,
        description="Tables that queries read, by the name that they have in FROM.",
    )
    sources: tuple[Source, ...] = Field(
        min_length=1, description="The metadata tables, and queries over `tables`; later ones win."
    )
    schema_: Schema = Field(
        default=Infer(),
        alias="schema",
        description="`infer`, {infer: {…}}, a list of entries, the path of a schema.json, "
        "or {entries, exact}. Entries in place stay, unless `exact` removes them.",
    )
    policy: Policy = Field(default=Policy(), description="How careful a run is.")
    concurrency: Annotated[int, Number] = Field(
        default=256,
        ge=1,
        le=4096,
        description="Most requests under way at once; a run begins with few and widens while that pays.",
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
    transport: Literal["auto", "fsspec"] = Field(
        default="auto",
        description="How S3, Google Cloud Storage and Azure are spoken to: `auto` writes documents, reads "
        "ranges and deletes through libcurl, where that does exactly what fsspec would; `fsspec` leaves "
        "everything to fsspec.",
    )
    workers: Annotated[int, Number, Field(ge=1, le=256)] | Literal["auto"] = Field(
        default="auto",
        description="Processes that write documents, 1 to 256. `auto`: several where one event loop is "
        "the limit.",
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
        "What was damaged is written and read again until it is right, also in later runs. "
        "The checksum that a put is answered with is compared in any case; what that is, by store and "
        "encryption, is in [storage.md](storage.md#how-documents-are-put).",
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
    keep_runs: Annotated[int, Number] = Field(
        default=20,
        ge=1,
        description="Runs that wrote, whose files are kept in the state folder. Beside them stay 20 runs "
        "that changed nothing, and for 30 days `run.json` of all that wrote.",
    )
    compact: bool = Field(
        default=False,
        description="Whether documents are left out that change nothing of what is shown: those of frames "
        "that all say the same, for one of their video, and those that say defaults only "
        "([format.md](format.md#fewer-documents)).",
    )
    backup: Backup | None = Field(
        default=None,
        description="Whether, and how long, old versions of documents are kept for `metaferry rollback`: "
        "`{keep: 30d}` ([operations.md](operations.md#undo-a-run)). Default: none is kept.",
    )
    metrics: Metrics = Field(default=Metrics(), description="Where the figures of each sync are sent.")
    prices: Prices | None = Field(
        default=None, description="What requests cost, over list prices ([price.md](price.md))."
    )

    report: RunPage = Field(default=RunPage(), description="What a sync leaves for people to look at.")

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

    @field_validator("transport", mode="before")
    @classmethod
    def _gone(cls, value: Any) -> Any:
        if value in ("obstore", "sockets"):
            raise ValueError(f"{value} is there no more: write auto, or leave the key out")
        return value

    @field_validator("storage")
    @classmethod
    def _schemes(cls, storage: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for scheme in storage:
            if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
                raise ValueError(f"{scheme!r} is no URL scheme: write s3, gs, az, …")
            if not is_served(scheme):
                # These options would never be used.
                near = " or ".join(schemes_like(scheme)) or "s3, gs, az, or another that fsspec knows"
                raise ValueError(f"there is no file system for {scheme}://: write {near}")
        return storage

    @field_validator("schema_")
    @classmethod
    def _entries(cls, value: Schema) -> Schema:
        listed = value.entries if isinstance(value, GivenSchema) else value
        if isinstance(listed, tuple):
            from metaferry.errors import SchemaError
            from metaferry.lightly.schema import check_entries

            try:
                check_entries([entry.model_dump(by_alias=True) for entry in listed], where="")
            except SchemaError as error:
                raise ValueError(error.message.lstrip(": ")) from None
        return value

    @field_validator("tables")
    @classmethod
    def _table_names(cls, tables: dict[str, Table]) -> dict[str, Table]:
        seen: dict[str, str] = {}
        for name in tables:
            if not name or "\0" in name:
                raise ValueError(f"{name!r} is no name of a table")
            if tables[name].given is not None:
                check_reader_name(name)
            other = seen.setdefault(name.lower(), name)
            if other != name:
                raise ValueError(f"{other!r} and {name!r} differ in letter case only, as no name in SQL can")
        return tables

    @field_validator("sources")
    @classmethod
    def _names(cls, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        named = [source.label for source in sources if source.name is not None or source.table is None]
        for name in named:
            if named.count(name) > 1:
                raise ValueError(f"two sources are named {name!r}: tell them apart with `name`")
        return sources

    def model_post_init(self, context: Any) -> None:
        """Registers its secrets, so that no log record shows them."""
        remember(self.storage)
        schema = self.given_schema
        for url in (*self.metrics.targets.values(), schema.entries if schema is not None else None):
            if isinstance(url, str):
                remember_url(url)

    # -- where a job comes from

    @classmethod
    def load(cls, path: str | PathLike[str], overrides: Sequence[str] = ()) -> Self:
        """The job of a YAML file, with `key=value` overrides typed as YAML.

        Raises JobError that lists every fault with its line.
        """
        return load_job(cls, path, overrides)

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, Any],
        *,
        base: str | PathLike[str] = ".",
        overrides: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> Self:
        """The job of a mapping in the shape of a job file; relative paths are relative to `base`.

        variables: values of `${VAR}` by name, over those of the environment. Raises JobError that lists every
        fault with its key.
        """
        return job_of(cls, mapping, base=base, overrides=overrides, variables=variables)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema of the job file, for editors and for docs/job-file.md."""
        schema = cls.model_json_schema(by_alias=True, mode="validation")
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "metaferry job", **schema}

    # -- derived values

    @property
    def origin(self) -> Mapping[str, Any] | None:
        """What it was read from, paths absolute, `${VAR}` as written; None for one made of values.

        A copy with other values keeps it: compare before use (`serialize.py`).
        """
        return self._origin.mapping

    def read_from(self, origin: Mapping[str, Any], places: TextPlaces) -> Self:
        """This job, with the mapping it was read from, and where the texts of its sources stand."""
        self._origin = _Origin(origin, places)
        return self

    @property
    def places(self) -> TextPlaces:
        """Where the queries and expressions of the sources stand in the job file."""
        return self._origin.places

    @property
    def given_schema(self) -> GivenSchema | None:
        """The entries that the job gives, or names a file of; None where they are inferred."""
        if isinstance(self.schema_, Infer | GivenSchema):
            return self.schema_ if isinstance(self.schema_, GivenSchema) else None
        return GivenSchema(entries=self.schema_)

    @property
    def lightly_location(self) -> Location:
        """Where `.lightly/metadata` is."""
        return self.lightly or self.input

    @property
    def state_location(self) -> Location:
        """Where caches, ledger and reports are."""
        return self.state or self.lightly_location.below(STATE)

    @property
    def needs_all_media(self) -> bool:
        """Whether names are judged over all media of the input, also where a run is about some of them."""
        return any(source.match != "path" for source in self.sources)

    @property
    def label(self) -> str:
        """The name of this job in metrics."""
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
                storage[name] = merged_options(storage.get(name, {}), given)
        return self.model_copy(update={"storage": storage})

    def digest(self) -> str:
        """SHA-256 (hex) over what decides the documents: where, which tables, which mapping, schema, policy.

        Without credentials, limits and settings that only change how fast a run is.
        """
        from metaferry.job.digest import digest_of

        return digest_of(self)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, showable(value) if name == "schema_" and isinstance(value, str) else value
