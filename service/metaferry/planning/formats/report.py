"""The report of a plan or a run, `run.json`, and the counts that it has."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from metaferry.findings import Finding
from metaferry.planning.price.model import Price, Store
from metaferry.storage.counts import RequestCounts
from metaferry.storage.rates import RateHistory
from metaferry.tables.model import Reading
from metaferry.tables.telemetry.account import JoinedSource

#: Version of `run.json`, and the versions before it that are read too. Version 2 renamed
#: `documents.postponed` to `documents.deferred`, version 3 `documents.leave` to `documents.skip`.
VERSION: Final = 3
OLDER_VERSIONS: Final = (1, 2)


@dataclass(slots=True)
class SourceCounts:
    """Rows of one source: `read = used + rejected + unmatched + excluded + filtered + repeated`, always.

    `unmatched` rows named no media and were only reported (`policy.unmatched: report`); under
    `reject` they are among the rejected. `excluded` rows name media outside include/exclude/prefix.
    `filtered` rows are those that the source's `where` leaves out; `repeated` ones say exactly what another
    row of the source says of the same document, which is used. `used_share` is the share (0 to 1) of the
    rows that were meant for this run, which excluded, filtered and repeated ones are not; None where there
    were none.
    """

    name: str
    read: int = 0
    used: int = 0
    rejected: int = 0
    unmatched: int = 0
    excluded: int = 0
    filtered: int = 0
    repeated: int = 0
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
class RelationCounts:
    """Rows of one of the job's `tables`, which queries read: `rejected` ones could not be read."""

    name: str
    read: int = 0
    rejected: int = 0


@dataclass(slots=True)
class CompactCounts:
    """What `compact: true` does without: videos whose frames are in one document, the frame documents that
    saves, and documents left out since they would say defaults only. `amount` is what putting them would
    cost, where prices are known."""

    videos: int = 0
    folded: int = 0
    left_out: int = 0
    amount: float | None = None

    @property
    def saved(self) -> int:
        """Objects that there are fewer."""
        return self.folded - self.videos + self.left_out


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


@dataclass(slots=True)
class BackupCounts:
    """Old versions that are kept before a run overwrites or deletes them (in a plan: that would be).

    `reads` and `puts` are the requests for it; `bytes` what the old versions have together.
    """

    documents: int = 0
    bytes: int = 0
    reads: int = 0
    puts: int = 0


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
    relations: list[RelationCounts] = field(default_factory=list)  # the tables that queries read
    joined: list[JoinedSource] = field(default_factory=list)  # the videos of sources that are joined by time
    versions: dict[str, str] = field(default_factory=dict)  # of tables that have several, by their names
    tables: list[Reading] = field(default_factory=list)  # how the sources were read; not in run.json of a run
    media: MediaCounts = field(default_factory=MediaCounts)
    listing: MediaListing = field(default_factory=MediaListing)
    documents: DocumentCounts = field(default_factory=DocumentCounts)
    frames: FrameCounts = field(default_factory=FrameCounts)
    compact: CompactCounts = field(default_factory=CompactCounts)
    requests: RequestCounts = field(default_factory=RequestCounts)
    rate: RateHistory = field(default_factory=RateHistory)  # of the Lightly datasource
    verified: VerifyCounts = field(default_factory=VerifyCounts)
    backup: BackupCounts = field(default_factory=BackupCounts)
    schema: SchemaChange = field(default_factory=SchemaChange)
    findings: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)  # rows of rejects.parquet by code
    examples: dict[str, list[Example]] = field(default_factory=dict)
    finding_examples: list[Finding] = field(default_factory=list)
    shards: int = 0  # of the kept plan that this is about; 0 where none was kept
    shards_here: tuple[int, ...] = ()  # those of them that this run was about, where it is not all
    rejects_url: str = ""  # where rejects.parquet of this run is
    report_url: str = ""  # where run.json of this run is
    page_url: str = ""  # where report.html is, which comes after run.json: not in that
    bytes_to_write: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # by phase
    stores: tuple[Store, ...] = ()  # `requests` by store
    price: Price = field(default_factory=Price)
    version: int = VERSION

    @property
    def rejected(self) -> int:
        return sum(one.rejected for one in self.sources) + sum(one.rejected for one in self.relations)

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
    """What `plan` returns: nothing was written but the caches of frame counts and of facts."""

    __slots__ = ()


class RunReport(Report):
    """What `sync` returns."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """As of `Report`. How the tables were read is for the caller alone: it holds values of theirs."""
        return super().to_dict() | {"tables": []}
