"""Inventory reports as the three clouds deliver them, into a folder of a test's choosing."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from pyarrow import orc

TAKEN = "2026-11-22T01:00:00"
#: The same in milliseconds since 1970.
TAKEN_MS = "1795309200000"
#: When every object was changed.
CHANGED = datetime(2026, 5, 1, 12, 0, 0, 250_000, UTC)


@dataclass(frozen=True)
class Object:
    """A row: an object of the bucket, or what is left of one."""

    key: str
    size: int = 10
    tag: str = "d41d8cd98f00b204e9800998ecf8427e"
    latest: bool = True
    marker: bool = False


def s3(folder: Path, objects: list[Object], form: str, *, pieces: int = 2, versions: bool = True) -> Path:
    """As `storage-inventory-location` describes it; the manifest's path."""
    names = ["Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag"]
    names.append("StorageClass")
    rows = [
        [
            "fleet",
            quote_plus(each.key, safe="/") if form == "CSV" else each.key,
            f"v{n}",
            each.latest,
            each.marker,
            None if each.marker else each.size,
            CHANGED,
            None if each.marker else each.tag,
            None if each.marker else "GLACIER_IR",
        ]
        for n, each in enumerate(objects)
    ]
    if not versions:
        names = [name for name in names if name not in ("VersionId", "IsLatest", "IsDeleteMarker")]
        rows = [[*row[:2], *row[5:]] for row in rows]
    kinds = {"IsLatest": pa.bool_(), "IsDeleteMarker": pa.bool_(), "Size": pa.int64()}
    kinds["LastModifiedDate"] = pa.timestamp("ms" if form == "Parquet" else "ns")
    files = []
    data = folder / "fleet" / "daily" / "data"
    data.mkdir(parents=True)
    for number in range(pieces):
        some = rows[number::pieces]
        if form == "CSV":
            text = io.StringIO()
            writer = csv.writer(text, quoting=csv.QUOTE_ALL)
            writer.writerows([_csv(value) for value in row] for row in some)
            content, name = gzip.compress(text.getvalue().encode()), f"part-{number}.csv.gz"
        else:
            plain = {"ETag": "e_tag", "IsLatest": "is_latest", "IsDeleteMarker": "is_delete_marker"}
            plain |= {"VersionId": "version_id", "LastModifiedDate": "last_modified_date"}
            plain["StorageClass"] = "storage_class"
            columns = [
                pa.array([row[at] for row in some], kinds.get(name, pa.string()))
                for at, name in enumerate(names)
            ]
            table = pa.table(columns, names=[plain.get(name, name.lower()) for name in names])
            sink = io.BytesIO()
            (pq if form == "Parquet" else orc).write_table(table, sink)
            content, name = sink.getvalue(), f"part-{number}.{form.lower()}"
        (data / name).write_bytes(content)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        files.append({"key": f"reports/fleet/daily/data/{name}", "size": len(content), "MD5checksum": md5})
    manifest = {
        "sourceBucket": "fleet",
        "destinationBucket": "arn:aws:s3:::reports",
        "version": "2016-11-30",
        "creationTimestamp": TAKEN_MS,
        "fileFormat": form,
        "fileSchema": ", ".join(names) if form == "CSV" else "message s3.inventory { … }",
        "files": files,
    }
    return _manifest(folder / "fleet" / "daily" / "2026-11-22T01-00Z", "manifest", manifest)


def gcs(folder: Path, objects: list[Object], form: str, *, header: bool = False) -> Path:
    """As `insights/inventory-reports` describes it; old versions have a `timeDeleted`."""
    names = ["bucket", "name", "size", "generation", "timeDeleted"]
    names += ["updated", "contentType", "storageClass", "etag"]
    facts = [CHANGED, "image/png", "NEARLINE", "CJ=="]
    rows = [
        ["fleet", each.key, each.size, n + 1, None if each.latest and not each.marker else TAKEN, *facts]
        for n, each in enumerate(objects)
    ]
    stem = "1a2b_2026-11-22T01:00"
    files = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        some = rows[number::2]
        path = folder / f"{stem}_{number}.{form.lower()}"
        if form == "CSV":
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\r\n", delimiter="|")
            writer.writerows(
                [*([names] if header else []), *([_csv(value) for value in row] for row in some)]
            )
            path.write_text(text.getvalue(), newline="")
        else:
            columns = [pa.array([row[at] for row in some]) for at in range(len(names))]
            pq.write_table(pa.table(columns, names=names), path)
        files.append(path.name)
    options = {"csvOptions": {"delimiter": "|", "recordSeparator": "\r\n", "headerRequired": header}}
    manifest = {
        "report_config": {
            **(options if form == "CSV" else {"parquetOptions": {}}),
            "objectMetadataReportOptions": {
                "metadataFields": names,
                "storageFilters": {"bucket": "fleet"},
            },
        },
        "records_processed": len(rows),
        "snapshot_time": f"{TAKEN}.123456789Z",
        "shard_count": 2,
        "report_shards_file_names": files,
    }
    path = folder / f"{stem}_manifest.json"
    path.write_text(json.dumps(manifest))
    return path


def azure(
    folder: Path,
    objects: list[Object],
    form: str,
    *,
    status: str = "Succeeded",
    whole_times: bool = False,
) -> Path:
    """As `blob-inventory` describes it: of an account, names begin with the container.

    whole_times: those in Parquet are whole milliseconds.
    """
    names = ["Name", "Content-Length", "Etag", "VersionId", "IsCurrentVersion", "Snapshot", "Deleted"]
    names += ["Last-Modified", "Content-Type", "AccessTier"]
    changed: Any = _csv(CHANGED) if form == "CSV" else CHANGED
    if whole_times:
        changed = round(CHANGED.timestamp() * 1000)
    facts = [changed, "image/png", "Cool"]
    rows: list[list[Any]] = [
        [
            f"fleet/{each.key}",
            each.size,
            each.tag,
            f"2026-{n}",
            None if not each.latest else True,
            None,
            each.marker or None,
            *facts,
        ]
        for n, each in enumerate(objects)
    ]
    rows.append(["other/2026/z.png", 1, "x", "2026-x", True, None, None, *facts])
    folder = folder / "2026/11/22/01-00-00/rule"
    folder.mkdir(parents=True)
    path = folder / f"rule_1000000_0.{form.lower()}"
    kinds = {"Content-Length": pa.int64(), "IsCurrentVersion": pa.bool_(), "Deleted": pa.bool_()}
    if form != "CSV":
        kinds["Last-Modified"] = pa.int64() if whole_times else pa.timestamp("ms", "UTC")
    table = pa.table(
        [pa.array([row[at] for row in rows], kinds.get(name, pa.string())) for at, name in enumerate(names)],
        names=names,
    )
    if form == "CSV":
        pc.write_csv(table, path)
    else:
        pq.write_table(table, path)
    manifest = {
        "destinationContainer": "reports",
        "endpoint": "https://account.blob.core.windows.net",
        "files": [{"blob": f"2026/11/22/01-00-00/rule/{path.name}", "size": path.stat().st_size}],
        "inventoryCompletionTime": "2026-11-22T01:09:00Z",
        "inventoryStartTime": f"{TAKEN}Z",
        "ruleDefinition": {
            "filters": {"blobTypes": ["blockBlob"], "includeBlobVersions": True},
            "format": form.lower(),
            "objectType": "blob",
            "schedule": "daily",
            "schemaFields": names,
        },
        "ruleName": "rule",
        "status": status,
        "summary": {"objectCount": len(rows), "totalObjectSize": 1},
        "version": "1.0",
    }
    return _manifest(folder, "rule-manifest", manifest)


REPORTS: dict[str, Any] = {
    "s3 csv": lambda folder, objects: s3(folder, objects, "CSV"),
    "s3 orc": lambda folder, objects: s3(folder, objects, "ORC"),
    "s3 parquet": lambda folder, objects: s3(folder, objects, "Parquet"),
    "gcs csv": lambda folder, objects: gcs(folder, objects, "CSV"),
    "gcs csv with a header": lambda folder, objects: gcs(folder, objects, "CSV", header=True),
    "gcs parquet": lambda folder, objects: gcs(folder, objects, "Parquet"),
    "azure csv": lambda folder, objects: azure(folder, objects, "CSV"),
    "azure parquet": lambda folder, objects: azure(folder, objects, "Parquet"),
    "azure parquet with whole milliseconds": lambda folder, objects: azure(
        folder, objects, "Parquet", whole_times=True
    ),
}


def _manifest(folder: Path, name: str, content: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps(content).encode()
    (folder / f"{name}.json").write_bytes(data)
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    (folder / f"{name}.checksum").write_text(md5)
    return folder / f"{name}.json"


def _csv(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return "" if value is None else str(value)
