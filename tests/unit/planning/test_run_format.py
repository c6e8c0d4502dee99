"""A `run.json` of an earlier version is read with the names of today."""

from __future__ import annotations

import json

import pytest

from metaferry.planning.formats import VERSION, RunReport, read_format


def test_an_older_report_is_read_with_what_was_postponed_as_deferred() -> None:
    value = json.loads(RunReport(run_id="r", job_digest="d", started="s").to_json())
    value["version"] = 1
    value["documents"]["postponed"] = 7
    del value["documents"]["deferred"]
    report = read_format(RunReport, json.dumps(value), VERSION, older=(1,))
    assert report.documents.deferred == 7
    with pytest.raises(ValueError, match="of version 1"):
        read_format(RunReport, json.dumps(value), VERSION)


def test_a_report_of_today_says_deferred() -> None:
    value = json.loads(RunReport(run_id="r", job_digest="d", started="s").to_json())
    assert (value["version"], value["documents"]["deferred"]) == (VERSION, 0)
    assert "postponed" not in value["documents"]
