"""Every key of every part of a job takes its documented values, alone and by `--set`."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from metaferry import Job
from metaferry.job.outputs import Metrics, RunPage
from metaferry.job.parts import (
    GivenSchema,
    Infer,
    Inventory,
    MediaRules,
    Policy,
    SchemaEntry,
)
from metaferry.job.prices import Prices
from metaferry.job.readers.annotations import Annotations
from metaferry.job.readers.keys import READER_KEYS
from metaferry.job.readers.telemetry import Telemetry
from metaferry.job.sources import FrameColumn, SecondsColumn, Source
from metaferry.job.tables import Skip, Table
from metaferry.lightly.values import ValueType

BASE: dict[str, Any] = {
    "input": "/in",
    "sources": [{"table": "/t.csv", "file_name": "f", "metadata": {"a": "a"}}],
}
SHARES = [0, 5, "0%", "10%", "0.5%", "100%"]
ENTRY = {"name": "a", "path": "a", "defaultValue": "x", "valueDataType": "CATEGORICAL_STRING"}
TYPED = {
    "NUMERIC_INT": 1,
    "NUMERIC_FLOAT": 1.5,
    "CATEGORICAL_STRING": "x",
    "CATEGORICAL_BOOLEAN": True,
    "CATEGORICAL_INT": 3,
    "CATEGORICAL_DATETIME": "2026-05-14T08:01:00Z",
    "CATEGORICAL_TIMESTAMP": 1_778_745_660_000,
    "OTHER_STRING": "x",
}
#: Options of a table, which stand beside `table` in a source and in `tables`.
OPTIONS: dict[str, list[Any]] = {
    "nulls": [[], ["NA", "-999"]],
    "format": ["csv", "tsv", "parquet", "jsonl", "json", "arrow"],
    "records": [None, "$", "$.data.annotations"],
    "encoding": [None, "cp1252", "utf-16-le"],
    "delimiter": [None, ";", "\t", "|"],
    "quote": [None, "'", ""],
    "escape": [None, "\\"],
    "decimal": [".", ","],
    "thousands": [None, ",", " "],
    "skip": [{"before": 3, "after": 1}],
    "comment": [None, "#"],
    "header": [True],
    "columns": [None],
    "trim": [True, False],
}
#: The keys of readers, which stand in the place of `table`.
NO_READER: dict[str, list[Any]] = {key: [None] for key in READER_KEYS}
#: Of each part: where it is in a job file, what it needs beside a key, and the values of every key.
PARTS: dict[type[BaseModel], tuple[str, dict[str, Any], dict[str, list[Any]]]] = {
    Policy: (
        "policy",
        {},
        {
            "max_rejects": SHARES,
            "max_delete": SHARES,
            "rejects_fail": [True, False],
            "unmatched": ["report", "reject"],
            "delete": ["never", "orphans"],
            "existing": ["stop", "replace"],
            "allow_empty": [True, False],
            "min_used": ["0%", "12.5%", "100%"],
            "min_coverage": ["0%", "12.5%", "100%"],
            "max_cost": [None, 0, 12.5],
        },
    ),
    MediaRules: (
        "media",
        {},
        {
            "include": [["**/*.mp4", "a/[x].png"], []],
            "exclude": [["tmp/**"]],
            "inventory": ["s3://inventories/daily/"],
        },
    ),
    Inventory: (
        "media.inventory",
        {"url": "s3://i/"},
        {"url": ["s3://inventories/"], "options": [{"anon": True}], "max_age": [0.5, 36]},
    ),
    Infer: ("schema.infer", {}, {"categorical_integers": [None, 2, 50], "widen": [True, False]}),
    GivenSchema: (
        "schema",
        {"entries": [ENTRY]},
        {"entries": [[ENTRY], "/schema.json"], "exact": [True, False]},
    ),
    SchemaEntry: (
        "schema[0]",
        ENTRY,
        {
            "name": ["b"],
            "path": ["b.c", "b[0]"],
            "defaultValue": ["y"],
            "valueDataType": ["CATEGORICAL_STRING"],
        },
    ),
    Source: (
        "sources[0]",
        BASE["sources"][0],
        {
            "table": ["/data/*.parquet", "s3://b/t.csv"],
            "name": ["labels"],
            **OPTIONS,
            "query": [None],
            "match": ["path", "basename", "stem"],
            "where": [None, "quality > 0.5"],
            "file_name": ["path || '.png'"],
            "frame": ["frame_idx"],
            "metadata": [{"scene": "scene", "n": "1"}],
            "max_rejects": [None],
            "video": [None],
            "time": [],  # of samples alone
            "start": [None],
            "max_gap": ["1s"],
            **NO_READER,
        },
    ),
    Annotations: (
        "tables.coco.annotations",
        {"url": "/coco.json"},
        {
            "url": ["s3://b/*.json.gz"],
            "options": [{"anon": True}],
            "reader": [None, "coco"],
            "settings": [{"camera": "front"}],
        },
    ),
    Telemetry: (
        "tables.track.telemetry",
        {"url": "/track.gpx"},
        {
            "url": ["s3://b/*.gpx"],
            "options": [{"anon": True}],
            "reader": [None, "gpx"],
            "date": [None, "2026-05-01"],
            "topics": [["/fix", "/imu/*"]],
            "clock": [None, "header", "log", "publish"],
            "settings": [{"camera": "front"}],
        },
    ),
    Table: (
        "tables.boxes",
        {"table": "/boxes.csv"},
        {
            "table": ["/data/*.parquet", "s3://b/t.csv"],
            **OPTIONS,
            "options": [{"anon": True}],
            "max_rejects": [None, *SHARES],
            **NO_READER,
        },
    ),
    Skip: ("sources[0].skip", {}, {"before": [0, 3], "after": [0, 1]}),
    FrameColumn: (
        "sources[0].frame",
        {"value": "n"},
        {
            "value": ["frame_idx"],
            "base": [0, 1],
            "from": [None],
            "to": [None],
            "until": [None],
            "seconds": [None],
            "max_gap": [0.5],
        },
    ),
    SecondsColumn: (
        "sources[0].frame.seconds",
        {"from": "a", "to": "b"},
        {"at": [None], "from": ["x + 1"], "to": ["y"], "until": [None]},
    ),
    Metrics: (
        "metrics",
        {},
        {
            "job": ["fleet"],
            "gateway": ["http://gateway:9091"],
            "otlp": ["https://collector:4318"],
            "timeout": [0.5, 10],
        },
    ),
    Prices: (
        "prices",
        {},
        {
            **{kind: [None, 0, 0.005] for kind in ("put", "list", "get", "delete", "tags")},
            "currency": ["USD", "EUR"],
            "per": [1, 1_000_000],
        },
    ),
    RunPage: ("report", {}, {"html": [True, False]}),
}
CASES = [(kind, key, value) for kind, (_, _, keys) in PARTS.items() for key in keys for value in keys[key]]


def nested(path: str, value: Any) -> dict[str, Any]:
    """BASE with a value at a path of keys and `[0]`."""
    job: Any = {**BASE, "sources": [dict(BASE["sources"][0])]}
    steps = path.replace("[0]", ".[0]").split(".")
    at = job
    for step, following in zip(steps, [*steps[1:], ""], strict=True):
        place: Any = 0 if step == "[0]" else step
        if not following:
            at[place] = value
        elif not (isinstance(at, list) or place in at):
            at[place] = [None] if following == "[0]" else {}
        at = at[place] if following else at
    return dict(job)


def test_no_key_of_any_part_is_missing_here() -> None:
    assert set(TYPED) == {str(kind) for kind in ValueType}
    for kind, (_, _, keys) in PARTS.items():
        assert {field.alias or name for name, field in kind.model_fields.items()} == set(keys), kind


@pytest.mark.parametrize(("kind", "key", "value"), CASES)
def test_a_value_alone_and_by_a_flag(kind: type[BaseModel], key: str, value: Any) -> None:
    path, needs, _ = PARTS[kind]
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    alone = Job.from_mapping(nested(path, {**needs, key: value}))
    flagged = Job.from_mapping(nested(path, needs), overrides=[f"{path}.{key}={text}"])
    unset = Job.from_mapping(nested(path, needs))
    assert alone == flagged
    # The value arrived: it is the default, or the job is another one.
    assert (
        alone != unset
        or kind.model_fields.get(key) is None
        or value
        in (
            needs.get(key),
            kind.model_fields[key].get_default(call_default_factory=True),
            [],
        )
    )


@pytest.mark.parametrize("type_", sorted(TYPED))
def test_each_type_of_an_entry(type_: str) -> None:
    entry = {**ENTRY, "valueDataType": type_, "defaultValue": TYPED[type_]}
    flagged = Job.from_mapping(
        {**BASE, "schema": [ENTRY]},
        overrides=[f"schema[0].valueDataType={type_}", f"schema[0].defaultValue={TYPED[type_]}"],
    )
    assert Job.from_mapping({**BASE, "schema": [entry]}).schema_ == flagged.schema_
