"""Writes `prometheus-rule.yaml` from `rules.yaml`, and `dashboard.json`: `python make.py [--check]`.

Both are derived, so that the rules exist once and every panel looks alike. The chart gets copies of rules and
dashboard, since Helm reads no file outside a chart.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
CHART = HERE.parent / "helm/files"
NOTE = "# Written by deploy/monitoring/make.py from rules.yaml. Edit that, not this.\n"
#: By which Prometheus picks rules: kube-prometheus-stack by its release, kube-prometheus by the other two.
PICKED_BY = {"release": "kube-prometheus-stack", "prometheus": "k8s", "role": "alert-rules"}
JOB = 'metaferry_job=~"$metaferry_job"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

#: Title, unit, width in 24ths, kind, and the expressions with their legends.
PANELS: tuple[tuple[str, str, int, str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Age of the last good run",
        "s",
        6,
        "stat",
        ((f"time() - metaferry_last_success_timestamp_seconds{{{JOB}}}", "{{metaferry_job}}"),),
    ),
    (
        "Exit code of the last run",
        "none",
        6,
        "stat",
        ((f"metaferry_last_run_exit_code{{{JOB}}}", "{{metaferry_job}}"),),
    ),
    (
        "Documents in place",
        "short",
        6,
        "stat",
        (
            (
                "sum by (metaferry_job) (metaferry_last_run_documents"
                f'{{{JOB}, action=~"create|update|keep"}})',
                "{{metaferry_job}}",
            ),
        ),
    ),
    (
        "Rows rejected",
        "short",
        6,
        "stat",
        ((f"sum by (metaferry_job) (metaferry_last_run_rejects{{{JOB}}})", "{{metaferry_job}}"),),
    ),
    (
        "Documents changed by a run",
        "short",
        12,
        "timeseries",
        (
            (
                f'metaferry_last_run_documents{{{JOB}, action=~"create|update|delete|failed|conflict"}}',
                "{{metaferry_job}} {{action}}",
            ),
        ),
    ),
    (
        "Rejected rows by reason",
        "short",
        12,
        "timeseries",
        ((f"metaferry_last_run_rejects{{{JOB}}} > 0", "{{metaferry_job}} {{code}}"),),
    ),
    (
        "Duration of a run by phase",
        "s",
        12,
        "timeseries",
        ((f"metaferry_last_run_phase_seconds{{{JOB}}}", "{{metaferry_job}} {{phase}}"),),
    ),
    (
        "Requests of a run",
        "short",
        12,
        "timeseries",
        ((f"metaferry_last_run_requests{{{JOB}}} > 0", "{{metaferry_job}} {{kind}} {{result}}"),),
    ),
    (
        "Retries and refusals of a run",
        "short",
        12,
        "timeseries",
        (
            (f"metaferry_last_run_retries{{{JOB}}}", "{{metaferry_job}} retries"),
            (f"metaferry_last_run_throttled{{{JOB}}}", "{{metaferry_job}} throttled"),
        ),
    ),
    (
        "Bytes of a run",
        "bytes",
        12,
        "timeseries",
        ((f"metaferry_last_run_bytes{{{JOB}}}", "{{metaferry_job}} {{direction}}"),),
    ),
    (
        "Media",
        "short",
        12,
        "timeseries",
        (
            (f"metaferry_last_run_media{{{JOB}}}", "{{metaferry_job}} {{kind}}"),
            (
                f'metaferry_last_run_frame_counts{{{JOB}, result="unproved"}}',
                "{{metaferry_job}} frames not proved",
            ),
        ),
    ),
    (
        "Rows by source",
        "short",
        12,
        "timeseries",
        ((f"metaferry_last_run_records{{{JOB}}}", "{{metaferry_job}} {{source}} {{result}}"),),
    ),
)


def prometheus_rule() -> str:
    """The rules as an object of the Prometheus operator."""
    rules = yaml.safe_load((HERE / "rules.yaml").read_text(encoding="utf-8"))
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "metaferry", "labels": {"app.kubernetes.io/name": "metaferry", **PICKED_BY}},
        "spec": rules,
    }
    return NOTE + yaml.safe_dump(rule, sort_keys=False, width=110)


def dashboard() -> str:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    x = y = 0
    for number, (title, unit, width, kind, targets) in enumerate(PANELS, 1):
        if x + width > 24:
            x, y = 0, y + panels[-1]["gridPos"]["h"]
        panels.append(_panel(number, title, unit, kind, targets, x, y, width))
        x += width
    board = {
        "uid": "metaferry",
        "title": "metaferry",
        "tags": ["metaferry"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [_source_variable(), _job_variable()]},
        "panels": panels,
    }
    return json.dumps(board, indent=2) + "\n"


def _panel(
    number: int,
    title: str,
    unit: str,
    kind: str,
    targets: tuple[tuple[str, str], ...],
    x: int,
    y: int,
    width: int,
) -> dict[str, Any]:
    return {
        "id": number,
        "title": title,
        "type": kind,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": 4 if kind == "stat" else 8},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for place, (expr, legend) in enumerate(targets)
        ],
    }


def _source_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _job_variable() -> dict[str, Any]:
    return {
        "name": "metaferry_job",
        "label": "Job",
        "type": "query",
        "datasource": SOURCE,
        "query": "label_values(metaferry_last_run_timestamp_seconds, metaferry_job)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
    }


def main(arguments: list[str]) -> int:
    """Writes the files, or with `--check` says which are not what they should be."""
    stale = []
    rules = (HERE / "rules.yaml").read_text(encoding="utf-8")
    written = {
        HERE / "prometheus-rule.yaml": prometheus_rule(),
        HERE / "dashboard.json": dashboard(),
        CHART / "rules.yaml": NOTE + rules[rules.index("groups:") :],
        CHART / "dashboard.json": dashboard(),
    }
    for path, text in written.items():
        if arguments != ["--check"]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(HERE.parent).as_posix())
    for name in stale:
        print(
            f"deploy/{name} is not what make.py writes; run python deploy/monitoring/make.py", file=sys.stderr
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
