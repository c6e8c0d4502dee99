"""One name for what Airflow 2 and 3 name differently. No other module imports Airflow."""

from __future__ import annotations

try:
    import airflow  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        'metaferry.airflow needs Airflow 2.11 or newer: pip install "metaferry[airflow]"', name="airflow"
    ) from missing

try:  # Airflow 3
    from airflow.sdk import Asset, AssetAlias, BaseHook, BaseOperator
    from airflow.sdk.exceptions import AirflowException, AirflowFailException
except ImportError:
    try:  # Airflow 3 before its exceptions moved
        from airflow.exceptions import AirflowException, AirflowFailException
        from airflow.sdk import Asset, AssetAlias, BaseHook, BaseOperator
    except ImportError:  # Airflow 2
        from airflow.datasets import Dataset as Asset
        from airflow.datasets import DatasetAlias as AssetAlias
        from airflow.exceptions import AirflowException, AirflowFailException
        from airflow.hooks.base import BaseHook
        from airflow.models.baseoperator import BaseOperator

__all__ = ["AirflowException", "AirflowFailException", "Asset", "AssetAlias", "BaseHook", "BaseOperator"]
