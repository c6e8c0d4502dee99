"""The plan and the done-markers of its shards: the rows, and the JSON that lies beside them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from metaferry.findings import Finding
from metaferry.planning.formats.report import PlanReport, VerifyCounts
from metaferry.storage.counts import RequestCounts

#: Version of `plan.json` and of the done-markers, and the versions before it that are read too. Version 4
#: renamed the action `leave` to `skip`.
PLAN_VERSION: Final = 4
OLDER_PLAN_VERSIONS: Final = (3,)


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
# `expect_size` and `ours` speak of what is in place: its bytes as listed, and whether the ledger has it as
# one of our runs left it. Plans of older versions of this program lack them.
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
    "expect_size": "BIGINT",
    "ours": "BOOLEAN",
    "why": "VARCHAR",
}

#: One row per applied row of the plan.
OUTCOME_COLUMNS: Final = {
    "target": "VARCHAR",
    "action": "VARCHAR",
    "outcome": "VARCHAR",
    "token": "VARCHAR",
    "md5": "VARCHAR",
    "message": "VARCHAR",
}


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
    none). `page` is what a page of its run shows of values, where the job wants one. `job` is the job's
    mapping with every `${VAR}` as it was written; None where that would hold a secret: then `job_left_out`
    says what.
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
    page: PlanFile | None = None
    joined: PlanFile | None = None  # the videos that samples are joined to, where a source has any
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
