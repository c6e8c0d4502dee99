"""The provider description that Airflow reads (entry point `apache_airflow_provider`)."""

from __future__ import annotations

from typing import Any

from metaferry.version import __version__


def get_provider_info() -> dict[str, Any]:
    """The provider's own description, in the shape of Airflow's provider_info.schema.json."""
    return {
        "package-name": "metaferry",
        "name": "metaferry",
        "description": "Keeps the metadata of a Lightly datasource in step with the tables it comes from.",
        "versions": [__version__],
    }
