"""Operators for Airflow 2.11 and 3: a sync, a backfill divided among mapped tasks, and what goes with them.

    from metaferry.airflow import MetaferrySyncOperator

    MetaferrySyncOperator(task_id="sync", job="/opt/airflow/jobs/fleet.yaml", aws_conn_id="aws_fleet")

Importing this loads Airflow and no heavy module of metaferry. Tables, media and buckets are read when a
task runs, never when a DAG is parsed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from metaferry.airflow.operators.backfill import (
        MetaferryFinishOperator,
        MetaferryPlanOperator,
        MetaferryShardOperator,
    )
    from metaferry.airflow.operators.check import MetaferryCheckOperator
    from metaferry.airflow.operators.export import MetaferryExportOperator
    from metaferry.airflow.operators.gate import MetaferryGateOperator
    from metaferry.airflow.operators.report import MetaferryReportOperator
    from metaferry.airflow.operators.sync import MetaferrySyncOperator
    from metaferry.airflow.operators.unlock import MetaferryUnlockOperator

__all__ = [
    "MetaferryCheckOperator",
    "MetaferryExportOperator",
    "MetaferryFinishOperator",
    "MetaferryGateOperator",
    "MetaferryPlanOperator",
    "MetaferryReportOperator",
    "MetaferryShardOperator",
    "MetaferrySyncOperator",
    "MetaferryUnlockOperator",
]

_MODULES: Final = {
    "MetaferryCheckOperator": "check",
    "MetaferryExportOperator": "export",
    "MetaferryFinishOperator": "backfill",
    "MetaferryGateOperator": "gate",
    "MetaferryPlanOperator": "backfill",
    "MetaferryReportOperator": "report",
    "MetaferryShardOperator": "backfill",
    "MetaferrySyncOperator": "sync",
    "MetaferryUnlockOperator": "unlock",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"metaferry.airflow.operators.{_MODULES[name]}"), name)
