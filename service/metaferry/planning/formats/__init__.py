"""What is written to disk or bucket between steps: versioned, typed, and defined here only.

`plan` is the plan (a Parquet data set with `plan.json`) and the done-markers of its shards, `backup` what a
run keeps of what it overwrites, `report` is `run.json`, `findings` the rows of findings, rejects and the
ledger; `reading` reads any of them back.
Every engine, retry and later version reads these formats and no other: a field is added with a default,
a renamed one gets a new version. Imported by everything above `planning`; it never does I/O.
"""

from metaferry.planning.formats.backup import (
    BACKUP_COLUMNS,
    BACKUP_VERSION,
    BackupPart,
    BackupSchema,
)
from metaferry.planning.formats.findings import (
    DAMAGE_COLUMNS,
    FINDING_COLUMNS,
    JOINED_COLUMNS,
    JOINED_VIDEOS,
    LEDGER_COLUMNS,
    REJECT_COLUMNS,
    ddl,
)
from metaferry.planning.formats.plan import (
    OLDER_PLAN_VERSIONS,
    OUTCOME_COLUMNS,
    PLAN_COLUMNS,
    PLAN_VERSION,
    Action,
    KeptPlan,
    Outcome,
    PlanFile,
    PlanShard,
    ShardMarker,
)
from metaferry.planning.formats.reading import (
    read_format,
)
from metaferry.planning.formats.report import (
    OLDER_VERSIONS,
    VERSION,
    BackupCounts,
    CompactCounts,
    DocumentCounts,
    Example,
    FrameCounts,
    MediaCounts,
    MediaListing,
    PlanReport,
    RelationCounts,
    Report,
    RunReport,
    SchemaChange,
    SchemaEdit,
    SourceCounts,
    VerifyCounts,
)

__all__ = [
    "BACKUP_COLUMNS",
    "BACKUP_VERSION",
    "DAMAGE_COLUMNS",
    "FINDING_COLUMNS",
    "JOINED_COLUMNS",
    "JOINED_VIDEOS",
    "LEDGER_COLUMNS",
    "OLDER_PLAN_VERSIONS",
    "OLDER_VERSIONS",
    "OUTCOME_COLUMNS",
    "PLAN_COLUMNS",
    "PLAN_VERSION",
    "REJECT_COLUMNS",
    "VERSION",
    "Action",
    "BackupCounts",
    "BackupPart",
    "BackupSchema",
    "CompactCounts",
    "DocumentCounts",
    "Example",
    "FrameCounts",
    "KeptPlan",
    "MediaCounts",
    "MediaListing",
    "Outcome",
    "PlanFile",
    "PlanReport",
    "PlanShard",
    "RelationCounts",
    "Report",
    "RunReport",
    "SchemaChange",
    "SchemaEdit",
    "ShardMarker",
    "SourceCounts",
    "VerifyCounts",
    "ddl",
    "read_format",
]
