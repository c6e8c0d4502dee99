"""The keys that are known at a place of the job file, for error messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

from metaferry.job.yaml_text import Key

if TYPE_CHECKING:
    from metaferry.job.parts import Model

#: Keys of the job that are locations.
LOCATIONS: Final = ("input", "lightly", "state")
#: Keys of a table and of a source that are locations.
TABLES: Final = ("table", "annotations", "delta", "iceberg", "telemetry")


def known_keys(kind: type[Model], path: tuple[Key, ...]) -> list[str]:
    """The keys that are known at a place of the job file."""
    from metaferry.job import (
        parts,
        sources,
        tables,
    )  # imports pydantic, which only an error message needs
    from metaferry.job.backup import Backup
    from metaferry.job.outputs import Metrics
    from metaferry.job.readers import samples, time_join

    keys: Sequence[Key] = [step for step in path if not isinstance(step, int)]
    places: dict[tuple[Key, ...], Any] = {
        (): kind,
        ("media",): parts.MediaRules,
        ("media", "inventory"): parts.Inventory,
        ("sources",): sources.Source,
        ("sources", "table"): parts.Location,
        ("sources", "frame"): sources.FrameColumn,
        ("sources", "frame", "seconds"): sources.SecondsColumn,
        ("sources", "skip"): tables.Skip,
        **{("sources", key): model for key, model in _reader_keys().items()},
        ("sources", "telemetry"): samples.Samples,
        ("sources", "telemetry", "table"): parts.Location,
        ("sources", "time"): time_join.SampleTime,
        ("sources", "start"): time_join.Start,
        **({tuple(keys): time_join.Joined} if tuple(keys[:2]) == ("sources", "metadata") else {}),
        **_named_tables(keys),
        ("policy",): parts.Policy,
        ("backup",): Backup,
        ("metrics",): Metrics,
        ("schema",): parts.SchemaEntry,
        ("schema", "infer"): parts.Infer,
        ("schema", "entries"): parts.SchemaEntry,
        **{(name,): parts.Location for name in LOCATIONS},
    }
    if tuple(keys) == ("schema",) and path[-1:] == ("schema",):
        return ["infer", *_fields(parts.GivenSchema)]
    model = places.get(tuple(keys))
    return list(_fields(model)) if model is not None else []


def _named_tables(keys: Sequence[Key]) -> dict[tuple[Key, ...], Any]:
    """The places within one of `tables`, whose names the job chooses."""
    from metaferry.job import parts, tables

    if len(keys) < 2 or keys[0] != "tables":
        return {}
    here = tuple(keys[:2])
    return {
        here: tables.Table,
        (*here, "table"): parts.Location,
        (*here, "skip"): tables.Skip,
        **{(*here, key): model for key, model in _reader_keys().items()},
    }


def _reader_keys() -> dict[str, Any]:
    """The models under the keys of readers."""
    from metaferry.job.readers.keys import ReaderKeys

    return {
        key: next(kind for kind in get_args(field.annotation) if kind is not type(None))
        for key, field in ReaderKeys.model_fields.items()
    }


def _fields(model: Any) -> Iterable[str]:
    return (field.alias or name for name, field in model.model_fields.items())
