"""The provider description that Airflow reads (entry point `apache_airflow_provider`)."""

from __future__ import annotations

from typing import Any, Final

from metaferry.version import __version__

_NAME: Final = "Metaferry"


def get_provider_info() -> dict[str, Any]:
    """The provider's own description, in the shape of Airflow's provider_info.schema.json."""
    return {
        "package-name": "metaferry",
        "name": _NAME,
        "description": "Keeps the metadata of a Lightly datasource in step with the tables it comes from.",
        "versions": [__version__],
        "integrations": [{"integration-name": _NAME, "tags": ["software"]}],
        "operators": [
            {
                "integration-name": _NAME,
                "python-modules": [
                    f"metaferry.airflow.operators.{module}"
                    for module in ("sync", "backfill", "gate", "check", "export", "report", "unlock")
                ],
            }
        ],
        "triggers": [{"integration-name": _NAME, "python-modules": ["metaferry.airflow.triggers"]}],
        "extra-links": ["metaferry.airflow.links.ReportLink"],
    }
