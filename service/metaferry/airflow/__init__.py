"""Operators for Airflow 2.11 and 3: a sync, a backfill divided among mapped tasks, check, report, export.

    from metaferry.airflow import MetaferrySyncOperator

    MetaferrySyncOperator(task_id="sync", job="/opt/airflow/jobs/fleet.yaml", aws_conn_id="aws_fleet")

Importing this loads Airflow and no heavy module of metaferry. Tables, media and buckets are read when a
task runs, never when a DAG is parsed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from metaferry.airflow.check import MetaferryCheckOperator
    from metaferry.airflow.operators import (
        MetaferryExportOperator,
        MetaferryFinishOperator,
        MetaferryPlanOperator,
        MetaferryShardOperator,
        MetaferrySyncOperator,
    )
    from metaferry.airflow.page import MetaferryReportOperator

__all__ = [
    "MetaferryCheckOperator",
    "MetaferryExportOperator",
    "MetaferryFinishOperator",
    "MetaferryPlanOperator",
    "MetaferryReportOperator",
    "MetaferryShardOperator",
    "MetaferrySyncOperator",
]

_OPERATORS: Final = "metaferry.airflow.operators"
#: Those that have a module of their own.
_MODULES: Final = {
    "MetaferryCheckOperator": "metaferry.airflow.check",
    "MetaferryReportOperator": "metaferry.airflow.page",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, _OPERATORS)), name)
