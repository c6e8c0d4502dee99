"""What a task leaves to others: ids and URLs also where it fails, events only where something changed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from metaferry.airflow import (
    MetaferryGateOperator,
    MetaferryReportOperator,
    MetaferrySyncOperator,
    MetaferryUnlockOperator,
)
from metaferry.airflow.events import give_extra
from metaferry.airflow.links import ReportLink, browser_url
from metaferry.airflow.provider import get_provider_info
from metaferry.airflow.versions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    Asset,
    AssetAlias,
)
from servers.s3_rules import Fault

#: Overrides with which the rows are for fewer media than the policy asks for.
FEWER = ["policy.min_coverage=100%", "sources[0].where=speed < 10"]


class Instance:
    """What an operator needs of its task instance."""

    def __init__(self, task: Any = None) -> None:
        self.xcoms: dict[str, Any] = {}
        self.task = task

    def xcom_push(self, key: str, value: Any) -> None:
        json.dumps(value)
        self.xcoms[key] = value


class Event:
    def __init__(self) -> None:
        self.extra: dict[str, Any] = {}
        self.added: list[tuple[Any, dict[str, Any]]] = []

    def add(self, asset: Any, extra: dict[str, Any]) -> None:
        self.added.append((asset, extra))


def made(kind: Any, site: Any, **more: Any) -> Any:
    given = {"task_id": "one", "job": str(site.job), "aws_conn_id": "aws_fleet", **more}
    return kind(**given)


def run(operator: Any, **events: Any) -> Instance:
    instance = Instance(operator)
    operator.execute({"ti": instance, "outlet_events": events.get("events", {})})
    return instance


def test_a_task_leaves_the_id_of_its_run_and_the_url_of_its_report(site: Any, secret: str) -> None:
    left = run(made(MetaferrySyncOperator, site)).xcoms
    assert left["report_url"] == f"s3://{site.bucket}/data/.metaferry/runs/{left['run_id']}/run.json"
    assert left["report"]["run_id"] == left["run_id"]
    assert "report_link" not in left  # the store is not that of AWS, whose console would not have it
    assert secret not in json.dumps(left)


def test_a_task_whose_run_stopped_at_a_limit_leaves_them_too(site: Any) -> None:
    operator = made(MetaferrySyncOperator, site, overrides=FEWER)
    instance = Instance(operator)
    with pytest.raises(AirflowFailException, match="nothing was written"):
        operator.execute({"ti": instance, "outlet_events": {}})
    left = instance.xcoms
    assert left["run_id"] in left["report_url"]
    assert left["report"]["exit_code"] == 5


def test_a_task_whose_run_ended_in_an_error_leaves_them_too(site: Any) -> None:
    site.s3.add(Fault("status", "PUT", r"data/\.lightly/", times=10_000, status=403, code="AccessDenied"))
    instance = Instance()
    with pytest.raises(AirflowException):
        made(MetaferrySyncOperator, site).execute({"ti": instance, "outlet_events": {}})
    left = instance.xcoms
    key = left["report_url"].removeprefix(f"s3://{site.bucket}/")
    kept = json.loads(site.s3.objects(site.bucket, key)[key])
    assert (kept["run_id"], kept["exit_code"] != 0) == (left["run_id"], True)


def test_a_task_that_began_no_report_leaves_the_id_alone(site: Any) -> None:
    site.s3.add(Fault("status", "GET", "list-type", times=10_000, status=403, code="AccessDenied"))
    instance = Instance()
    with pytest.raises(AirflowException):
        made(MetaferrySyncOperator, site).execute({"ti": instance, "outlet_events": {}})
    assert instance.xcoms.keys() == {"run_id"}


def test_only_a_run_that_changed_something_makes_an_event(site: Any) -> None:
    fleet, other = Asset("s3://fleet/2026"), AssetAlias("made")
    for expected in (True, False):
        operator = made(MetaferrySyncOperator, site, outlets=[fleet, other])
        events = {fleet: Event(), other: Event()}
        instance = Instance(operator)
        operator.execute({"ti": instance, "outlet_events": events})
        assert bool(operator.outlets) is bool(instance.task.outlets) is expected
        assert bool(events[fleet].extra) is bool(events[other].added) is expected
        if expected:
            assert events[fleet].extra["documents"]["create"] == site.count
            assert events[fleet].extra["run_id"] == instance.xcoms["run_id"]


def test_a_run_that_changed_nothing_is_skipped_where_that_is_asked_for(site: Any) -> None:
    run(made(MetaferrySyncOperator, site, skip_on_no_change=True))
    instance = Instance()
    with pytest.raises(AirflowSkipException, match=f"{site.count} documents"):
        made(MetaferrySyncOperator, site, skip_on_no_change=True).execute(
            {"ti": instance, "outlet_events": {}}
        )
    assert instance.xcoms["report"]["documents"]["keep"] == site.count


def test_the_extra_of_an_alias_is_what_this_airflow_can_keep() -> None:
    """Airflow 2 puts it into a set."""
    from airflow import __version__

    alias, event = AssetAlias("made"), Event()
    operator = MetaferryGateOperator(task_id="one", job="x", outlets=[alias])
    give_extra(
        operator, {"outlet_events": {alias: event}}, "s3://b/x", {"documents": {"create": 1}, "n": [1]}
    )
    ((_, kept),) = event.added
    if __version__.startswith("2."):
        assert frozenset(kept.items()) == {("documents.create", 1), ("n", (1,))}
    else:
        assert kept == {"documents": {"create": 1}, "n": [1]}


def test_a_gate_lets_what_comes_after_it_run_only_where_something_would_change(site: Any) -> None:
    report = made(MetaferryGateOperator, site).execute({"ti": Instance(), "outlet_events": {}})
    assert (report["documents"]["create"], site.written()) == (site.count, 0)
    run(made(MetaferrySyncOperator, site))
    with pytest.raises(AirflowSkipException):
        run(made(MetaferryGateOperator, site))
    run(made(MetaferryGateOperator, site, skip_on_no_change=False))


def test_a_gate_fails_for_good_where_more_would_change_than_it_lets_pass(site: Any) -> None:
    with pytest.raises(AirflowFailException, match=f"{site.count} documents, more than max_changes=399"):
        run(made(MetaferryGateOperator, site, max_changes="399"))
    run(made(MetaferryGateOperator, site, max_changes=str(site.count)))
    with pytest.raises(AirflowFailException, match="nothing was written"):
        run(made(MetaferryGateOperator, site, overrides=FEWER))
    assert site.written() == 0


def leave_a_lease(site: Any, run_id: str) -> str:
    key = "data/.metaferry/lease.json"
    record = {"version": 1, "holder": "aa", "run_id": run_id, "host": "elsewhere", "user": "ann", "pid": 1}
    site.s3.seed(site.bucket, [key], json.dumps(record).encode())
    return key


def test_an_unlock_removes_the_lease_and_names_its_holder(site: Any) -> None:
    nothing = made(MetaferryUnlockOperator, site).execute({"ti": Instance(), "outlet_events": {}})
    assert nothing["holder"] is None
    key = leave_a_lease(site, "one")
    found = made(MetaferryUnlockOperator, site).execute({"ti": Instance(), "outlet_events": {}})
    assert (found["holder"]["user"], site.s3.count(site.bucket, key)) == ("ann", 0)
    json.dumps(found)


@pytest.mark.parametrize("given", ["another", "None", None])
def test_an_unlock_of_one_run_leaves_the_lease_of_another(site: Any, given: Any) -> None:
    key = leave_a_lease(site, "one")
    with pytest.raises(AirflowException, match="is that of run one"):
        run(made(MetaferryUnlockOperator, site, run_id=given))
    assert site.s3.count(site.bucket, key) == 1
    run(made(MetaferryUnlockOperator, site, run_id="one"))
    assert site.s3.count(site.bucket, key) == 0


def test_a_page_is_linked(site: Any) -> None:
    operator = made(
        MetaferryReportOperator,
        site,
        out=f"s3://{site.bucket}/pages/a b.html",
        report_link="https://files.internal/{bucket}?at={key}",
    )
    run(made(MetaferrySyncOperator, site))
    left = run(operator).xcoms
    assert left["report_url"] == f"s3://{site.bucket}/pages/a b.html"
    assert left["report_link"] == f"https://files.internal/{site.bucket}?at=pages/a%20b.html"


@pytest.mark.parametrize(
    ("url", "more", "link"),
    [
        ("s3://b/x/run.json", {}, "https://console.aws.amazon.com/s3/object/b?prefix=x/run.json"),
        ("gs://b/x/run.json", {}, "https://storage.cloud.google.com/b/x/run.json"),
        ("gs://b/x/run.json", {"own_endpoint": True}, ""),
        ("az://b/x/run.json", {}, ""),
        ("az://b/x y", {"pattern": "https://p/{bucket}/{key}"}, "https://p/b/x%20y"),
        ("/data/run.json", {"pattern": "https://p/{bucket}/{key}"}, ""),
        ("https://h/run.json", {}, "https://h/run.json"),
        ("", {}, ""),
    ],
)
def test_what_a_browser_opens(url: str, more: dict[str, Any], link: str) -> None:
    assert browser_url(url, **more) == link


def test_the_provider_names_every_operator_and_fits_the_schema_of_airflow() -> None:
    """Airflow drops a provider whose description does not fit, and says so in its log alone."""
    from importlib import import_module
    from pathlib import Path

    import airflow
    import jsonschema

    import metaferry.airflow as face

    info = get_provider_info()
    for file in Path(airflow.__file__).parent.glob("provider*.schema.json"):
        if "info" in file.name:
            jsonschema.validate(info, json.loads(file.read_text()))
    named = {
        name
        for part in ("operators", "triggers")
        for entry in info[part]
        for module in entry["python-modules"]
        for name, value in vars(import_module(module)).items()
        if getattr(value, "__module__", "") == module
    }
    assert {*face.__all__, "LeaseTrigger"} <= named
    (link,) = info["extra-links"]
    assert link == f"{ReportLink.__module__}.{ReportLink.__qualname__}"


def test_airflow_knows_the_link() -> None:
    code = (
        "from airflow.providers_manager import ProvidersManager as P; "
        "print('found', 'metaferry.airflow.links.ReportLink' in P().extra_links_class_names)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "found True" in done.stdout, done.stderr[-2000:]
