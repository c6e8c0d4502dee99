"""Writes docs/job-file.md from the model of the job, so that the two cannot differ.

python docs/generate.py           writes it, and takes the picture of a report where there is Chromium
python docs/generate.py --check   exit code 1 when it is not what the model says
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from picture import take_picture

from metaferry.job.model import Job

PAGE = Path(__file__).parent.parent / "docs" / "job-file.md"

INTRODUCTION = """\
# The job file

<!-- Written by `make docs` from service/metaferry/job/model.py. Edit that, not this. -->

A job file says where the media are, which tables speak of them, and how careful a run is. It is \
YAML; `metaferry init` writes one with comments, and `metaferry.Job.json_schema()` gives its JSON \
Schema for editors. A complete one:

```yaml
input: s3://fleet/2026/
lightly: s3://fleet-lightly/2026/
storage: {s3: {endpoint_url: "${S3_ENDPOINT}"}}
media: {include: ["**/*.mp4", "**/*.png"], exclude: ["tmp/**"]}
sources:
  - table: s3://warehouse/labels/*.parquet
    file_name: image_path
    frame: frame_idx
    metadata:
      scene: scene
      weather.temperature: (temp_f - 32) * 5 / 9
schema: infer
policy: {max_rejects: 0, unmatched: report, delete: never, max_delete: 10%, existing: stop}
```

**YAML** is read by its 1.2 rules: only `true` and `false` are booleans, `no` and `12:30` are text. \
Anchors, aliases and `<<` work; a key that stands twice is a fault. Every fault is reported at once, \
with its line.

**Environment**: `${NAME}` in any value is taken from the environment, and a variable that is not set \
is a fault. A literal `${` is written `$${`. `~` is not expanded: write `${HOME}/…`.

**Files**: `${file:/run/secrets/key}` in any value is what the file holds, as Docker, Kubernetes, \
systemd and Vault's agent mount secrets. The path is absolute; one line break at the end of the \
text is cut, nothing else. A file that is missing, empty, no UTF-8 text, larger than 1 MiB or not \
readable is a fault with its place. What was read is a secret wherever it stands, and masked in \
every message, log and report. A kept plan has the name of the file, not what it held, and so have \
the tasks of a cluster: each machine reads its own file. Rotation needs no restart: `serve` reads \
the files anew for every run, and a run whose S3, GCS or Azure credentials from `storage:` or \
`options:` are refused reads them again: when the store says that they have expired, and, as Azure \
says 403 for a SAS that ran out, whenever the file has changed. A database (`sql:`), a table of a lake \
(`delta:`, `iceberg:`) and its catalog that refuse are asked again where a file has changed.

**Paths** that are relative are relative to the job file's folder.

**Flags**: `--set key=value` goes over the file, typed as YAML: `--set policy.max_rejects=5`, \
`--set sources[0].frame.base=1`. Below `metadata` the rest of the name is one key: \
`--set 'sources[0].metadata.weather.temperature=temp_c'`.

**Credentials** belong into the environment (`key: "${S3_KEY}"`) or into files \
(`key: "${file:/run/secrets/s3-key}"`), or are found by each cloud's own \
chain when nothing is given. They never appear in messages, logs or reports.

**Globs** match the path below `input`, with case: `*` and `?` stay within a folder, `**/` matches \
any number of folders, also none. `.lightly/` and `.metaferry/` are never media, in whichever folder they \
lie (`sub/.lightly/`).

**Chained URLs** of fsspec (`zip://…::s3://…`, `simplecache::…`) are not supported, neither for tables nor \
for locations, and are refused: unpack an archive, or name the object itself. A path that merely holds \
`::` is none.

**Schema**: an entry is known by its path. A list (or a path to a schema.json, which means the same) \
adds entries to schema.json and changes those of the same path; every change is shown, old and new. \
Entries in place that it does not name stay, so that jobs over disjoint media can share a datasource; \
`schema: {entries: […], exact: true}` removes them, which is shown too. A new `valueDataType`, and a new \
entry, is held to the documents in place that the run does not write: where one does not fit, the run \
stops with exit code 5 before its first write ([schema.misfit](findings.md)).

[schema.md](schema.md) has the commands that propose entries, check them, and say what a sync would \
change.

**Expressions** are DuckDB SQL over the columns of the table, without subqueries and aggregates; a \
number or a boolean stands for itself. Four functions about paths are added to those of DuckDB: `basename`, \
`dirname`, `stem` and `path_part` ([tables.md](tables.md#paths-in-expressions)).

**Queries**: where a row of a table is no record, `query` is one SELECT over `tables`, in place of `table` \
([queries.md](queries.md)).

**Readers**: what is no table, such as a COCO file, stands under the key of its kind in place of `table`, in \
`sources` and in `tables` alike ([sources](sources/README.md)).

**Rows**: `match` says what a name and its media have in common ([tables.md](tables.md#from-rows-to-media)); \
`where` leaves rows out, as if they were not in the table; [findings.md](findings.md) says how \
every row is counted.
"""

#: Sections of the page: the definition in the JSON Schema, the heading, the keys' common beginning.
SECTIONS = (
    ("", "All keys", ""),
    ("Location", "A location: `input`, `lightly`, `state`, `sources[].table`, `tables.NAME.table`", ""),
    ("MediaRules", "`media`", "media."),
    ("Inventory", "`media.inventory`", ""),
    ("Table", "`tables.NAME`", ""),
    ("Source", "`sources[]`", ""),
    ("Annotations", "`annotations`, in `tables.NAME` and in `sources[]`", ""),
    ("Sql", "`sql`, in `tables.NAME` and in `sources[]`", ""),
    ("Delta", "`delta`, in `tables.NAME` and in `sources[]`", ""),
    ("Iceberg", "`iceberg`, in `tables.NAME` and in `sources[]`", ""),
    ("Telemetry", "`telemetry`, in `tables.NAME`", ""),
    ("Samples", "`sources[].telemetry`", ""),
    ("SampleTime", "`sources[].time`", ""),
    ("Start", "`sources[].start`", ""),
    ("Joined", "A value below `sources[].metadata` of samples", ""),
    ("Skip", "`sources[].skip`", ""),
    ("FrameColumn", "`sources[].frame`", ""),
    ("SecondsColumn", "`sources[].frame.seconds`", ""),
    ("Policy", "`policy`", "policy."),
    ("Metrics", "`metrics`", "metrics."),
    ("Prices", "`prices`", "prices."),
    ("RunPage", "`report`", "report."),
    ("Infer", "`schema: {infer: …}`", ""),
    ("GivenSchema", "`schema: {entries: …}`", ""),
    ("SchemaEntry", "`schema: […]`, `schema: {entries: […]}`", ""),
)

#: Keys that stand before the others of their section.
_FIRST = ("table", "query", "annotations", "sql", "delta", "iceberg", "telemetry", "uri", "url", "name")
#: The one key of those that may be written as text.
_SHORT = {
    "Location": "url",
    "Inventory": "url",
    "FrameColumn": "value",
    "SecondsColumn": "at",
    "Table": "table",
    "Annotations": "url",
    "Delta": "url",
    "Iceberg": "url",
    "Telemetry": "url",
    "Samples": "url",
    "SampleTime": "column",
    "Start": "from",
}

#: What several kinds together mean to a reader.
_NAMED = {
    ("text", "whole number", "number", "boolean"): "SQL expression",
    ("whole number", "text"): "number or share",
}


def page() -> str:
    schema = Job.json_schema()
    definitions = schema["$defs"]
    parts = [INTRODUCTION]
    for name, heading, prefix in SECTIONS:
        definition = _full(definitions[name]) if name else schema
        parts.append(f"\n## {heading}\n\n")
        text = " ".join(definition.get("description", "").split())
        if name and text:
            parts.append(f"{text}\n\n")
        if name in _SHORT:
            parts.append(f"Written as text, it is `{_SHORT[name]}` alone.\n\n")
        parts += _table(definition, definitions, prefix)
    return "".join(parts)


def _full(definition: dict[str, Any]) -> dict[str, Any]:
    """The definition with properties, where there is a short form beside it."""
    for form in definition.get("anyOf", ()):
        if "properties" in form:
            inner = form["properties"].get("infer", form)
            return {"description": definition.get("description", ""), **inner}
    return definition


def _table(definition: dict[str, Any], definitions: dict[str, Any], prefix: str) -> Iterator[str]:
    required = definition.get("required", ())
    yield "| key | value | default | |\n|---|---|---|---|\n"
    # What is read comes before how it is read.
    listed = sorted(definition["properties"].items(), key=lambda item: item[0] not in _FIRST)
    for key, value in listed:
        default = "**required**" if key in required else _default(value)
        kind = _kind(value, definitions).replace("|", "\\|")
        yield f"| `{prefix}{key}` | {kind} | {default} | {value.get('description', '')} |\n"


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None or default in ({}, [], "") or isinstance(default, dict):
        return ""
    if isinstance(default, float):
        return f"`{default:g}`"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _kind(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return {
            "Location": "URL, or {url, options}",
            "Table": "URL, or {table, …}",
            "Annotations": "URL, or {url, reader, …}",
            "Sql": "{uri, query, …}",
            "Delta": "URL, or {url, version, …}",
            "Iceberg": "URL, or {url, snapshot, …}, or {catalog, name, …}",
            "Telemetry": "URL, or {url, reader, …}",
            "Samples": "URL, or {table}, {query}",
            "SampleTime": "expression, or {column, unit, zone}",
            "Start": "{from, …}",
            "Joined": "{linear}, {angular}, {nearest} or {previous}",
            "Inventory": "URL, or {url, options, max_age}",
            "FrameColumn": "expression, or {value, base}, {from, to}, {seconds}",
            "SecondsColumn": "expression, or {from, to}",
            "Infer": "`infer`",
            "GivenSchema": "{entries, exact}",
            "SchemaEntry": "entries",
        }.get(name, "see below")
    if "anyOf" in value or "oneOf" in value:
        kinds = [_kind(one, definitions) for one in value.get("anyOf") or value["oneOf"]]
        named = tuple(dict.fromkeys(kind for kind in kinds if kind != "null"))
        return _NAMED.get(named, " or ".join(named))
    if "enum" in value:
        return ", ".join(f"`{json.dumps(one).strip(chr(34))}`" for one in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    kind = value.get("type", "any value")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        inner = _kind(value["items"], definitions)
        return f"list, {inner}" if inner == "see below" else f"list of {inner}"
    if kind == "object":
        inner = value.get("additionalProperties")
        return f"mapping to {_kind(inner, definitions)}" if isinstance(inner, dict) and inner else "mapping"
    bounds = [
        f"{word} {value[key]:g}"
        for key, word in (("exclusiveMinimum", "above"), ("minimum", "from"), ("maximum", "to"))
        if key in value
    ]
    names = {"string": "text", "integer": "whole number"}
    return " ".join([names.get(kind, kind), *bounds])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    wanted = page()
    if not parser.parse_args().check:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(wanted, encoding="utf-8")
        if why := take_picture(PAGE.parent / "images" / "report.png"):
            sys.stderr.write(f"docs/images/report.png stays as it is: {why}\n")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted:
        sys.exit("docs/job-file.md is not what the model says: run `make docs`")


if __name__ == "__main__":
    main()
