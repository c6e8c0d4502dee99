"""The asset events of a task: with counts where something changed, and none where nothing did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metaferry.airflow.versions import AIRFLOW_2, Asset, AssetAlias

if TYPE_CHECKING:
    from metaferry.planning.formats import Report


def has_changed(report: Report) -> bool:
    """Whether the run wrote or deleted a document, or wrote schema.json (of a plan: whether it would)."""
    return bool(report.changes or report.schema.written)


def give_extra(operator: Any, context: Any, url: str, extra: Mapping[str, Any]) -> None:
    """Adds `extra` to the events of the task's outlets. An AssetAlias becomes the asset `url`."""
    for outlet in operator.outlets or ():
        if isinstance(outlet, AssetAlias):
            context["outlet_events"][outlet].add(Asset(url), extra=_of_alias(extra))
        elif isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra.update(extra)


def withhold_events(operator: Any, context: Any) -> None:
    """The task makes no event when it succeeds: Airflow makes one for each asset among its outlets."""
    # The operator that runs may be a copy of the one whose outlets are read at the end.
    for task in (operator, getattr(context.get("ti"), "task", None)):
        if task is not None and task.outlets:
            task.outlets = [each for each in task.outlets if not isinstance(each, Asset | AssetAlias)]


def _of_alias(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Airflow 2 keeps the extra of an alias in a set, so there it has no mapping inside: its keys are
    `documents.create` and the like."""
    if not AIRFLOW_2:
        return dict(extra)
    flat: dict[str, Any] = {}
    for name, value in extra.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": each for inner, each in _of_alias(value).items()}
        else:
            flat[name] = tuple(value) if isinstance(value, list) else value
    return flat
