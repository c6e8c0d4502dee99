"""What is written to disk or bucket between steps: versioned, typed, and defined here only.

The plan (a Parquet data set with `plan.json`), the done-markers of its shards, the findings, the
rejects, the ledger and the report of a run (`run.json`; its counts of requests come from `storage/`, in
`counts.py` and `rates.py`). Every engine, retry and later version reads these formats and no other; a
field is added with a default and a new `version`, never renamed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

from metaferry.findings import Finding
from metaferry.storage.counts import RequestCounts
from metaferry.storage.rates import RateHistory
from metaferry.tables.model import Reading

T = TypeVar("T")

#: Version of `run.json`, and the versions before it that are read too. Version 2 renamed
#: `documents.postponed` to `documents.deferred`, version 3 `documents.leave` to `documents.skip`.
VERSION: Final = 3
OLDER_VERSIONS: Final = (1, 2)

#: Version of `plan.json` and of the done-markers, and the versions before it that are read too. Version 4
#: renamed the action `leave` to `skip`.
PLAN_VERSION: Final = 4
OLDER_PLAN_VERSIONS: Final = (3,)

#: Actions and counts by the names that they had in earlier versions.
_RENAMED: Final = {"postponed": "deferred", "leave": "skip"}


class Action(StrEnum):
    """What becomes of one document; the truth table is `planning/actions.py`."""

    CREATE = "create"
    UPDATE = "update"
    KEEP = "keep"
    DELETE = "delete"
    SKIP = "skip"


class Outcome(StrEnum):
    """What happened to one row of the plan when it was applied."""

    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"  # failed too, and so it would the next time: protected, or too long a name
    CONFLICT = "conflict"


# Columns as DuckDB types, in order. `body` is null where nothing is written (keep, skip, delete).
# `replacement` is the document that a stale one gives way to: it is deleted only where that one stands.
# `read_back` are those that are read after they were written, whatever `verify` says.
PLAN_COLUMNS: Final = {
    "shard": "INTEGER",
    "target": "VARCHAR",
    "kind": "VARCHAR",
    "media": "VARCHAR",
    "action": "VARCHAR",
    "body": "VARCHAR",
    "md5": "VARCHAR",
    "size": "BIGINT",
    "expect": "VARCHAR",
    "replacement": "VARCHAR",
    "read_back": "BOOLEAN",
    "why": "VARCHAR",
}

REJECT_COLUMNS: Final = {
    "source": "VARCHAR",
    "file": "VARCHAR",
    "row": "BIGINT",
    "code": "VARCHAR",
    "column": "VARCHAR",
    "value": "VARCHAR",
    "expected": "VARCHAR",
    "message": "VARCHAR",
}

FINDING_COLUMNS: Final = {
    "code": "VARCHAR",
    "severity": "VARCHAR",
    "message": "VARCHAR",
    "advice": "VARCHAR",
    "source": "VARCHAR",
    "file": "VARCHAR",
    "row": "BIGINT",
    "media": "VARCHAR",
    "target": "VARCHAR",
}

#: What a run left behind: a row a document; `token` null says "we deleted it".
LEDGER_COLUMNS: Final = {"target": "VARCHAR", "token": "VARCHAR", "md5": "VARCHAR"}

#: Documents that an earlier run read back as other bytes than it had written.
DAMAGE_COLUMNS: Final = {"target": "VARCHAR"}

#: One row per applied row of the plan.
OUTCOME_COLUMNS: Final = {
    "target": "VARCHAR",
    "action": "VARCHAR",
    "outcome": "VARCHAR",
    "token": "VARCHAR",
    "md5": "VARCHAR",
    "message": "VARCHAR",
}


def ddl(table: str, columns: dict[str, str]) -> str:
    """`CREATE TABLE` for one of the formats above."""
    fields = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    return f"CREATE TABLE {table} ({fields})"


@dataclass(slots=True)
class SourceCounts:
    """Rows of one source: `read = used + rejected + unmatched + excluded`, always.

    `unmatched` rows named no media and were only reported (`policy.unmatched: report`); under
    `reject` they are among the rejected. `excluded` rows name media outside include/exclude/prefix.
    `used_share` is the share (0 to 1) of the rows that were meant for this run, which excluded ones are
    not; None where there were none.
    """

    name: str
    read: int = 0
    used: int = 0
    rejected: int = 0
    unmatched: int = 0
    excluded: int = 0
    used_share: float | None = None


@dataclass(slots=True)
class MediaCounts:
    """Media that the job takes in, by kind; and how many of them the rows give metadata.

    `coverage` is `with_metadata` as a share (0 to 1) of images and videos; None where there are none.
    """

    images: int = 0
    videos: int = 0
    excluded: int = 0
    refused: int = 0  # under names that no document can have
    with_metadata: int = 0
    coverage: float | None = None


@dataclass(slots=True)
class MediaListing:
    """Where the media were found, and how old that is.

    What changed in the bucket after `as_of` may have been missed, except where the listing is fresh.
    """

    basis: str = "listing"  # or "inventory"
    inventory: str = ""  # the manifest's URL
    as_of: str = ""
    age: float = 0.0  # seconds, when the tables had been read
    resumed: int = 0  # objects that an earlier run had listed before it was cut off
    objects: int = 0  # other than documents, whether media or not

    @property
    def fresh(self) -> bool:
        """Whether the bucket itself was listed, just now."""
        return self.basis == "listing" and not self.resumed


@dataclass(slots=True)
class DocumentCounts:
    """Documents by what was planned (in a plan) or done (in a run).

    In a run: wanted = create + update + keep + failed + conflict + deferred; deletes are apart.
    """

    create: int = 0
    update: int = 0
    keep: int = 0
    delete: int = 0
    skip: int = 0
    failed: int = 0
    conflict: int = 0
    deferred: int = 0  # left for a later run by --limit, or by an interrupt


@dataclass(slots=True)
class FrameCounts:
    counted: int = 0
    cached: int = 0
    unproved: int = 0


@dataclass(slots=True)
class VerifyCounts:
    """Documents that were read back after they had been written (`verify`)."""

    read: int = 0
    rewritten: int = 0  # were not what had been written, and are now
    wrong: int = 0  # still are not; counted as failed


@dataclass(frozen=True, slots=True)
class SchemaEdit:
    """An entry that changes: its keys as schema.json has them, as they are and as they become."""

    path: str
    before: dict[str, Any]
    after: dict[str, Any]

    def differences(self) -> list[str]:
        """Each key that changes, with both values as JSON, for people."""
        return [
            f"{key} {json.dumps(self.before[key], ensure_ascii=False)} → "
            f"{json.dumps(self.after[key], ensure_ascii=False)}"
            for key in self.after
            if self.before[key] != self.after[key]
        ]


@dataclass(slots=True)
class SchemaChange:
    """What becomes of schema.json."""

    entries: int = 0
    added: tuple[str, ...] = ()  # paths of the new entries
    written: bool = False  # in a plan: would be written
    changed: tuple[SchemaEdit, ...] = ()
    removed: tuple[str, ...] = ()  # paths of the entries that do not stay


@dataclass(frozen=True, slots=True)
class Example:
    """One row of the plan, shown to a person."""

    target: str
    why: str


@dataclass(slots=True)
class Report:
    """The account of a plan or a run; `to_dict()` is `run.json`.

    `exit_code` is what the command exits with: 0 done, 3 rows rejected or documents failed,
    5 a safety limit stopped it (then `stopped` says which). `examples` and `finding_examples`
    are for people: at most ten of each action, and of each code.
    """

    run_id: str
    job_digest: str
    started: str
    input: str = ""
    lightly: str = ""
    finished: str = ""
    exit_code: int = 0
    stopped: str = ""
    advice: str = ""  # what to do about `stopped`
    sources: list[SourceCounts] = field(default_factory=list)
    tables: list[Reading] = field(default_factory=list)  # how the sources were read; of a plan alone
    media: MediaCounts = field(default_factory=MediaCounts)
    listing: MediaListing = field(default_factory=MediaListing)
    documents: DocumentCounts = field(default_factory=DocumentCounts)
    frames: FrameCounts = field(default_factory=FrameCounts)
    requests: RequestCounts = field(default_factory=RequestCounts)
    rate: RateHistory = field(default_factory=RateHistory)  # of the Lightly datasource
    verified: VerifyCounts = field(default_factory=VerifyCounts)
    schema: SchemaChange = field(default_factory=SchemaChange)
    findings: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)  # rows of rejects.parquet by code
    examples: dict[str, list[Example]] = field(default_factory=dict)
    finding_examples: list[Finding] = field(default_factory=list)
    shards: int = 0  # of the kept plan that this is about; 0 where none was kept
    shards_here: tuple[int, ...] = ()  # those of them that this run was about, where it is not all
    rejects_url: str = ""  # where rejects.parquet of this run is
    report_url: str = ""  # where run.json of this run is
    bytes_to_write: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # by phase
    version: int = VERSION

    @property
    def rejected(self) -> int:
        return sum(source.rejected for source in self.sources)

    @property
    def changes(self) -> int:
        """Documents created, updated or deleted (or to be)."""
        return self.documents.create + self.documents.update + self.documents.delete

    def to_dict(self) -> dict[str, Any]:
        """Plain values, JSON-ready, keys as `run.json` has them."""
        return asdict(self)

    def to_json(self) -> bytes:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False).encode() + b"\n"


class PlanReport(Report):
    """What `plan` returns: nothing was written but the frame-count cache."""

    __slots__ = ()


class RunReport(Report):
    """What `sync` returns."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class PlanFile:
    """One file of a kept plan, by its name below the plan's folder."""

    name: str
    size: int
    md5: str  # hex


@dataclass(frozen=True, slots=True)
class PlanShard:
    """One shard of a kept plan: how many documents it writes and deletes, and where its rows are."""

    number: int
    writes: int = 0
    deletes: int = 0
    files: tuple[PlanFile, ...] = ()


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """`plan.json`: everything but the rows that a shard, or `finish`, needs to know of a plan.

    `plan_id` is the id of the run that it becomes when it is applied. `report` is what was planned,
    `schema` the entries that schema.json is to have, `schema_token` what it replaces (None: there was
    none). `job` is the job's mapping with every `${VAR}` as it was written; None where that would
    hold a secret: then `job_left_out` says what.
    """

    plan_id: str
    job_digest: str
    listed: str
    report: PlanReport
    schema: tuple[dict[str, Any], ...]
    schema_token: str | None
    shards: tuple[PlanShard, ...]
    rejects: PlanFile
    findings: PlanFile
    job: dict[str, Any] | None = None
    job_left_out: str = ""
    version: int = PLAN_VERSION

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class ShardMarker:
    """What became of all writes of one shard: `create + update + failed + conflict` of them.

    Lies in the metadata of a Parquet file with the rows of OUTCOME_COLUMNS, so that both are there
    or neither is. `findings` are the first hundred of each kind; `requests` those of the attempt
    that ended the shard; `proved` the documents that were read back as damaged before, and are right now.
    """

    plan_id: str
    shard: int
    create: int = 0
    update: int = 0
    failed: int = 0
    refused: int = 0  # those of `failed` that will fail again
    conflict: int = 0
    foreign: int = 0
    bytes: int = 0
    seconds: float = 0.0
    requests: RequestCounts = field(default_factory=RequestCounts)
    verified: VerifyCounts = field(default_factory=VerifyCounts)
    findings: tuple[Finding, ...] = ()
    num_shards: int = 0  # the `--num-shards` of the share that wrote it, 0 where it was none
    proved: tuple[str, ...] = ()
    version: int = PLAN_VERSION

    @property
    def writes(self) -> int:
        return self.create + self.update + self.failed + self.conflict

    @property
    def is_good(self) -> bool:
        """Whether every document of the shard is in place."""
        return not (self.failed or self.conflict)

    @property
    def is_settled(self) -> bool:
        """Whether trying again would change nothing."""
        return self.failed == self.refused and not self.conflict

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))


def read_format(kind: type[T], data: bytes | str, version: int, *, older: Sequence[int] = ()) -> T:
    """The dataclass of this JSON, every field checked. ValueError says what is wrong with it.

    `older` are versions that are read too, with their names in place of those of today.
    """
    from pydantic import ValidationError

    value = json.loads(data)
    found = value.get("version") if isinstance(value, dict) else None
    if found != version and found not in older:
        raise ValueError(f"it is of version {found!r}, and this is for version {version}")
    for report in (value, value.get("report")):
        for key in ("documents", "examples"):
            named = report.get(key) if isinstance(report, dict) else None
            for before, now in _RENAMED.items():
                if isinstance(named, dict) and before in named:
                    named.setdefault(now, named.pop(before))
    try:
        checked: T = _adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return checked


_adapters: Final[dict[type[Any], Any]] = {}


def _adapter(kind: type[Any]) -> Any:
    """Made once: that takes longer than reading a hundred markers."""
    from pydantic import TypeAdapter

    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]
