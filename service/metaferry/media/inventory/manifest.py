"""Manifests of inventory reports: which files a report is, how to read them, and when it was taken.

Pure: bytes in, a :class:`Manifest` out, or one JobError that says what is wrong with the report. The
three forms, as their vendors describe them:

- Amazon S3: docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html; what the
  columns mean, and that keys are URL-encoded in CSV, storage-inventory.html beside it.
- Google Cloud Storage: cloud.google.com/storage/docs/insights/inventory-reports.
- Azure Storage: learn.microsoft.com/azure/storage/blobs/blob-inventory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from metaferry.errors import JobError

Kind = Literal["s3", "gcs", "azure"]
Format = Literal["csv", "orc", "parquet"]

#: What a manifest is called; before it comes the rule's name (Azure) or the report's (Google).
NAME: Final = re.compile(r"(?:^|/)(?:[^/]*[-_])?manifest\.json\Z")
#: When a report was begun, by the path of its manifest: S3 and Google, then Azure.
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d[-:]\d\d(?:[-:]\d\d)?(?:[.,]\d+)?Z?|\d{4}/\d\d/\d\d/\d\d-\d\d-\d\d"
)


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a report. `path` is its key in the bucket `Manifest.stored_in`, or only its name."""

    path: str
    size: int | None
    md5: str | None  # hex


@dataclass(frozen=True, slots=True)
class Manifest:
    """A report. `taken` is when the bucket began to be looked at: what is newer may be missing.

    bucket: whose objects these are; None where each row has it.
    columns: of a CSV without a header, in order; None where the files have it.
    encoded: keys are URL-encoded.
    records: rows of all files together, where the manifest has it.
    """

    kind: Kind
    taken: datetime
    format: Format
    files: tuple[DataFile, ...]
    stored_in: str | None
    bucket: str | None
    columns: tuple[str, ...] | None
    encoded: bool = False
    delimiter: str = ","
    records: int | None = None


class NotReady(JobError):
    """The report is not finished, or failed: an older one may do."""


def parse_manifest(data: bytes, url: str, place: str) -> Manifest:
    """The manifest at `url`. Raises JobError where it is none, and `NotReady`."""
    try:
        content = json.loads(data)
        if not isinstance(content, dict):
            raise ValueError
        if "fileSchema" in content:
            return _s3(content)
        if "report_shards_file_names" in content:
            return _gcs(content)
        if "ruleDefinition" in content:
            return _azure(content, url, place)
    except NotReady:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JobError(
            f"{url} is no manifest of an inventory: {type(error).__name__} in it",
            place=place,
            advice="name the manifest.json of an S3 inventory, a Cloud Storage inventory report or an Azure "
            "blob inventory",
        ) from None
    raise JobError(
        f"{url} is no manifest of an inventory: it has neither fileSchema (S3), "
        "report_shards_file_names (Google) nor ruleDefinition (Azure)",
        place=place,
        advice="name the manifest.json of the report, or the folder that reports are delivered to",
    )


def path_time(path: str) -> tuple[str, str]:
    """From a manifest's path: the digits of its time ("" if none), and the series it belongs to."""
    found = _TIME.search(path)
    if found is None:
        return "", path
    return re.sub(r"\D", "", found[0]), path.replace(found[0], "*")


def _s3(content: Mapping[str, Any]) -> Manifest:
    form = _format(content["fileFormat"])
    return Manifest(
        kind="s3",
        taken=datetime.fromtimestamp(int(content["creationTimestamp"]) / 1000, UTC),
        format=form,
        files=tuple(
            DataFile(str(each["key"]), _number(each.get("size")), str(each.get("MD5checksum") or "") or None)
            for each in content["files"]
        ),
        stored_in=str(content["destinationBucket"]).removeprefix("arn:aws:s3:::").rpartition(":")[2] or None,
        bucket=str(content["sourceBucket"]),
        columns=tuple(name.strip() for name in content["fileSchema"].split(",")) if form == "csv" else None,
        encoded=form == "csv",
    )


def _gcs(content: Mapping[str, Any]) -> Manifest:
    config = content.get("report_config") or {}
    csv = config.get("csvOptions") or config.get("csv_options") or {}
    options = config.get("objectMetadataReportOptions") or config.get("object_metadata_report_options") or {}
    filters = options.get("storageFilters") or options.get("storage_filters") or {}
    fields = options.get("metadataFields") or options.get("metadata_fields") or ()
    header = bool(csv.get("headerRequired", csv.get("header_required", False)))
    names = [str(name) for name in content["report_shards_file_names"]]
    form: Format = "parquet" if names and all(name.endswith(".parquet") for name in names) else "csv"
    if form == "csv" and not header and not fields:
        raise ValueError("no columns")
    return Manifest(
        kind="gcs",
        taken=_instant(content["snapshot_time"]),
        format=form,
        files=tuple(DataFile(name.rpartition("/")[2], None, None) for name in names),
        stored_in=None,
        bucket=filters.get("bucket"),
        columns=tuple(map(str, fields)) if form == "csv" and not header else None,
        delimiter=str(csv.get("delimiter") or ","),
        records=_number(content.get("records_processed")),
    )


def _azure(content: Mapping[str, Any], url: str, place: str) -> Manifest:
    rule = content["ruleDefinition"]
    if rule.get("objectType", "blob").lower() != "blob":
        raise JobError(
            f"{url} is an inventory of containers", place=place, advice="make a rule for blobs: objectType"
        )
    status = str(content.get("status", ""))
    if status != "Succeeded":
        raise NotReady(
            f"{url}: the inventory is not finished, its status is {status or 'missing'}",
            place=place,
            advice="wait for it, or name the manifest of an older one",
        )
    return Manifest(
        kind="azure",
        taken=_instant(content["inventoryStartTime"]),
        format=_format(rule["format"]),
        files=tuple(
            DataFile(str(each["blob"]), _number(each.get("size")), None) for each in content["files"]
        ),
        stored_in=str(content.get("destinationContainer") or "") or None,
        bucket=None,
        columns=None,
        records=_number((content.get("summary") or {}).get("objectCount")),
    )


def _format(name: str) -> Format:
    form = name.lower()
    if form not in ("csv", "orc", "parquet"):
        raise ValueError(name)
    return form  # type: ignore[return-value]


def _number(value: Any) -> int | None:
    return None if value is None else int(value)


def _instant(text: str) -> datetime:
    # Google writes nanoseconds, which Python's own reader does not take.
    instant = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", str(text)))
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
