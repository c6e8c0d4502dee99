"""One name for what Airflow 2 and 3 name differently. No other module imports Airflow."""

from __future__ import annotations

try:
    import airflow  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        'metaferry.airflow needs Airflow 2.11 or newer: pip install "metaferry[airflow]"', name="airflow"
    ) from missing

from airflow.triggers.base import BaseTrigger, TriggerEvent

try:  # Airflow 3
    from airflow.sdk import Asset, AssetAlias, BaseHook, BaseOperator, BaseOperatorLink
except ImportError:  # Airflow 2
    from airflow.configuration import conf
    from airflow.datasets import Dataset as Asset
    from airflow.datasets import DatasetAlias as AssetAlias
    from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException
    from airflow.hooks.base import BaseHook
    from airflow.models.baseoperator import BaseOperator
    from airflow.models.baseoperatorlink import BaseOperatorLink
    from airflow.models.xcom import XCom

    AIRFLOW_2 = True
else:
    AIRFLOW_2 = False
    try:
        from airflow.sdk.configuration import conf
        from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
    except ImportError:  # before these moved
        from airflow.configuration import conf
        from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException
    try:
        from airflow.sdk import XCom
    except ImportError:
        from airflow.sdk.execution_time.xcom import XCom

__all__ = [
    "AIRFLOW_2",
    "AirflowException",
    "AirflowFailException",
    "AirflowSkipException",
    "Asset",
    "AssetAlias",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseTrigger",
    "TriggerEvent",
    "XCom",
    "conf",
]
