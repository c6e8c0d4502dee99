"""The figures of a run as metrics: which there are, and their values out of a report.

`METRICS` is the whole list, pinned to docs/operations.md by a test; `samples` turns one report into
values, and `Totals` adds up those of many runs. Pure: nothing here is sent, rendered or read from a
clock. Every label set is complete, with 0 where nothing happened, so that a rate has a beginning and
a gateway keeps no figure of an earlier run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from metaferry.findings import Code

#: The label that every metric has beside its own: `Job.label`. Not `job`, which a scrape would rename.
JOB_LABEL: Final = "metaferry_job"

#: Exit codes of a run that did its work; 3: and named what it could not use.
GOOD: Final = frozenset({0, 3})
#: All exit codes that a run can end with by itself. README.md says what each means.
EXIT_CODES: Final = (0, 1, 2, 3, 5, 11, 130, 143)

#: Values by metric, then by label values in the order of the metric's labels.
Samples = dict[str, dict[tuple[str, ...], float]]


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge of the last run; `total` names the counter that `serve` keeps of it, "" where none."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    total: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """When a run ended, in Unix seconds, and how many seconds it took."""

    at: float
    seconds: float


_ACTIONS: Final = ("create", "update", "keep", "delete", "skip", "failed", "conflict", "deferred")
_RESULTS: Final = ("used", "rejected", "unmatched", "excluded", "filtered", "repeated")
_KINDS: Final = ("list", "get", "put", "delete", "tags")
#: Codes that keep a row from being used.
_REJECTS: Final = tuple(
    str(code) for code in Code if code.partition(".")[0] in ("source", "record", "name", "value", "media")
)
_PHASES: Final = ("gather", "decide", "apply")

METRICS: Final = (
    Metric("metaferry_build_info", "1; the version of metaferry.", ("version",)),
    Metric("metaferry_last_run_timestamp_seconds", "When the last run ended."),
    Metric(
        "metaferry_last_success_timestamp_seconds",
        "When the last run that did its work ended (exit code 0 or 3).",
    ),
    Metric("metaferry_last_run_exit_code", "Exit code of the last run."),
    Metric(
        "metaferry_last_run_duration_seconds",
        "Seconds that the last run took.",
        total="metaferry_run_seconds_total",
    ),
    Metric("metaferry_last_run_phase_seconds", "Seconds of the last run by phase.", ("phase",)),
    Metric(
        "metaferry_last_run_documents",
        "Documents by what became of them.",
        ("action",),
        "metaferry_documents_total",
    ),
    Metric(
        "metaferry_last_run_records",
        "Rows of each source by what became of them; together, all that were read.",
        ("source", "result"),
        "metaferry_records_total",
    ),
    Metric(
        "metaferry_last_run_table_rows",
        "Rows of each table that queries read, by whether they could be.",
        ("table", "result"),
        "metaferry_table_rows_total",
    ),
    Metric(
        "metaferry_last_run_rejects",
        "Faults of rows that were not used, by finding code.",
        ("code",),
        "metaferry_rejects_total",
    ),
    Metric("metaferry_last_run_findings", "Findings by code.", ("code",)),
    Metric("metaferry_last_run_media", "Media by kind.", ("kind",)),
    Metric("metaferry_last_run_frame_counts", "Videos by how their frames were counted.", ("result",)),
    Metric(
        "metaferry_last_run_requests",
        "Requests to all stores; error: the store failed or refused.",
        ("kind", "result"),
        "metaferry_requests_total",
    ),
    Metric("metaferry_last_run_retries", "Requests that were made again.", total="metaferry_retries_total"),
    Metric(
        "metaferry_last_run_throttled",
        "Answers that asked for a lower rate.",
        total="metaferry_throttled_total",
    ),
    Metric("metaferry_last_run_bytes", "Bytes of object contents.", ("direction",), "metaferry_bytes_total"),
    Metric("metaferry_last_run_verified", "Documents that were read back after the writes.", ("result",)),
)


def samples(report: Mapping[str, Any], ended: Ended, *, version: str) -> Samples:
    """The values of one run. `report` is what `run.json` holds, of a run that failed as well.

    Without `metaferry_last_success_timestamp_seconds` where the run was none.
    """
    code = int(report["exit_code"])
    requests, documents, frames = report["requests"], report["documents"], report["frames"]
    asked = {kind: requests.get(kind, 0) for kind in _KINDS}  # an older report may be kept
    failed = {kind: requests.get(f"{kind}_failed", 0) for kind in _KINDS}
    found: Samples = {
        "metaferry_build_info": {(version,): 1},
        "metaferry_last_run_timestamp_seconds": {(): ended.at},
        "metaferry_last_run_exit_code": {(): code},
        "metaferry_last_run_duration_seconds": {(): ended.seconds},
        "metaferry_last_run_phase_seconds": {(name,): report["seconds"].get(name, 0.0) for name in _PHASES},
        "metaferry_last_run_documents": {(action,): documents[action] for action in _ACTIONS},
        "metaferry_last_run_records": {
            (source["name"], result): source.get(result, 0)
            for source in report["sources"]
            for result in _RESULTS
        },
        "metaferry_last_run_table_rows": {
            (table["name"], result): number
            for table in report.get("relations", ())  # a report of an older version may be kept
            for result, number in (
                ("used", table["read"] - table["rejected"]),
                ("rejected", table["rejected"]),
            )
        },
        "metaferry_last_run_rejects": {(one,): report["rejects"].get(one, 0) for one in _REJECTS},
        "metaferry_last_run_findings": {(str(one),): report["findings"].get(one, 0) for one in Code},
        "metaferry_last_run_media": {
            ("image",): report["media"]["images"],
            ("video",): report["media"]["videos"],
        },
        "metaferry_last_run_frame_counts": {(name,): frames[name] for name in frames},
        "metaferry_last_run_requests": {
            (kind, result): number
            for kind in _KINDS
            for result, number in (("ok", asked[kind] - failed[kind]), ("error", failed[kind]))
        },
        "metaferry_last_run_retries": {(): requests["retries"]},
        "metaferry_last_run_throttled": {(): requests["throttled"]},
        "metaferry_last_run_bytes": {
            ("read",): requests["bytes_read"],
            ("written",): requests["bytes_written"],
        },
        "metaferry_last_run_verified": {
            (name,): report["verified"][name] for name in ("read", "rewritten", "wrong")
        },
    }
    if code in GOOD:
        found["metaferry_last_success_timestamp_seconds"] = {(): ended.at}
    return found


class Totals:
    """The counters of a process that does many runs."""

    def __init__(self) -> None:
        self._values: Samples = {}

    def add(self, found: Samples) -> None:
        """One more run."""
        for metric in METRICS:
            if metric.total:
                values = self._values.setdefault(metric.total, {})
                for labels, value in found.get(metric.name, {}).items():
                    values[labels] = values.get(labels, 0.0) + value

    def __iter__(self) -> Iterator[tuple[Metric, dict[tuple[str, ...], float]]]:
        """Each counter, as a metric of its own, with its values."""
        for metric in METRICS:
            if metric.total:
                counter = Metric(metric.total, f"{metric.help} Since the process began.", metric.labels)
                yield counter, dict(self._values.get(metric.total, {}))
