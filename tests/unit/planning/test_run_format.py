"""Reports and plans of earlier versions are read with the names of today."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metaferry.planning.formats import (
    OLDER_PLAN_VERSIONS,
    OLDER_VERSIONS,
    PLAN_VERSION,
    VERSION,
    DocumentCounts,
    Example,
    KeptPlan,
    PlanFile,
    PlanReport,
    RunReport,
    read_format,
)

#: The names of earlier versions: version, name before, name of today.
RENAMED = [(1, "postponed", "deferred"), (1, "leave", "skip"), (2, "leave", "skip")]


def report(**values: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(RunReport(run_id="r", job_digest="d", started="s", **values).to_json())
    return value


@pytest.mark.parametrize(("version", "before", "now"), RENAMED)
def test_an_older_report_is_read_with_the_names_of_today(version: int, before: str, now: str) -> None:
    value = report()
    value["version"] = version
    value["documents"][before] = 7
    del value["documents"][now]
    read = read_format(RunReport, json.dumps(value), VERSION, older=OLDER_VERSIONS)
    assert read.documents == DocumentCounts(**{now: 7})
    with pytest.raises(ValueError, match=f"of version {version}"):
        read_format(RunReport, json.dumps(value), VERSION)


def test_a_report_of_today_has_no_older_name() -> None:
    value = report()
    assert value["version"] == VERSION
    assert not {"postponed", "leave"} & set(value["documents"])
    assert set(OLDER_VERSIONS) == set(range(1, VERSION))


def test_the_counts_and_examples_of_an_older_plan_are_read_with_the_names_of_today() -> None:
    file = PlanFile("rejects.parquet", 1, "0" * 32)
    examples = {"skip": [Example("t", "why")]}
    planned = PlanReport("r", "d", "s", documents=DocumentCounts(skip=3), examples=examples)
    plan = KeptPlan("r", "d", "s", planned, (), None, (), file, file)
    value = json.loads(plan.to_json())
    value["version"] = 3
    for key in ("documents", "examples"):
        value["report"][key]["leave"] = value["report"][key].pop("skip")
    read = read_format(KeptPlan, json.dumps(value), PLAN_VERSION, older=OLDER_PLAN_VERSIONS)
    assert (read.report.documents, read.report.examples) == (planned.documents, examples)
