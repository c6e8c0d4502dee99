"""metaferry keeps the `.lightly/metadata` of a datasource in step with the tables it comes from.

    import metaferry

    report = metaferry.sync("job.yaml")
    print(report.documents.create, "documents are new")

`plan` says what a `sync` would do. Both take the path of a job file, or a :class:`Job`, print
nothing, raise :class:`MetaferryError` subclasses only, and work inside a running event loop.
Importing this package loads no storage library and no engine; each is loaded when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from metaferry.errors import (
    Interrupted,
    JobError,
    LeaseHeld,
    LeaseLost,
    MetaferryError,
    SafetyStop,
    SchemaError,
    ShardsMissing,
    StorageError,
    TableMissing,
    UsageError,
)
from metaferry.findings import Code, Finding, Severity
from metaferry.progress import Progress, Stop
from metaferry.version import __version__

if TYPE_CHECKING:
    from metaferry.api import count_frames, finish, plan, rollback, sync, unlock
    from metaferry.api_view import (
        check,
        check_schema,
        describe_tables,
        diff_schema,
        doctor,
        export,
        export_file,
        infer_schema,
        policy,
        report,
        select,
    )
    from metaferry.job.model import Job
    from metaferry.media.frames.model import FrameCount
    from metaferry.planning.formats import PlanReport, RunReport
    from metaferry.runs.lease.held import Unlocked
    from metaferry.runs.rollback.report import RollbackReport

__all__ = [
    "Code",
    "Finding",
    "FrameCount",
    "Interrupted",
    "Job",
    "JobError",
    "LeaseHeld",
    "LeaseLost",
    "MetaferryError",
    "PlanReport",
    "Progress",
    "RollbackReport",
    "RunReport",
    "SafetyStop",
    "SchemaError",
    "Severity",
    "ShardsMissing",
    "Stop",
    "StorageError",
    "TableMissing",
    "Unlocked",
    "UsageError",
    "__version__",
    "check",
    "check_schema",
    "count_frames",
    "describe_tables",
    "diff_schema",
    "doctor",
    "export",
    "export_file",
    "finish",
    "infer_schema",
    "plan",
    "policy",
    "report",
    "rollback",
    "select",
    "sync",
    "unlock",
]

#: Names whose modules load what takes time, by module; looked up on first use.
_LAZY: Final = {
    "FrameCount": "metaferry.media.frames.model",
    "Job": "metaferry.job.model",
    "PlanReport": "metaferry.planning.formats",
    "RollbackReport": "metaferry.runs.rollback.report",
    "RunReport": "metaferry.planning.formats",
    "Unlocked": "metaferry.runs.lease.held",
    "check": "metaferry.api_view",
    "check_schema": "metaferry.api_view",
    "count_frames": "metaferry.api",
    "describe_tables": "metaferry.api_view",
    "diff_schema": "metaferry.api_view",
    "doctor": "metaferry.api_view",
    "export": "metaferry.api_view",
    "export_file": "metaferry.api_view",
    "finish": "metaferry.api",
    "infer_schema": "metaferry.api_view",
    "plan": "metaferry.api",
    "policy": "metaferry.api_view",
    "report": "metaferry.api_view",
    "rollback": "metaferry.api",
    "select": "metaferry.api_view",
    "sync": "metaferry.api",
    "unlock": "metaferry.api",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
