"""The operators one by one: what fails for good, what may be retried, and what never gets out."""

from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaferry.airflow import (
    MetaferryCheckOperator,
    MetaferryExportOperator,
    MetaferryFinishOperator,
    MetaferryPlanOperator,
    MetaferryReportOperator,
    MetaferryShardOperator,
    MetaferrySyncOperator,
)
from metaferry.airflow.versions import AirflowException, AirflowFailException, Asset

HEAVY = {"duckdb", "pyarrow", "s3fs", "gcsfs", "adlfs", "pycurl", "av", "aiobotocore", "metaferry.job.model"}


class Pushed:
    """What an operator needs of its task instance."""

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def context() -> dict[str, Any]:
    return {"ti": Pushed(), "outlet_events": {}}


def sync(site: Any, **more: Any) -> MetaferrySyncOperator:
    given = {"job": str(site.job), "aws_conn_id": "aws_fleet", **more}
    return MetaferrySyncOperator(task_id="sync", **given)


def killed_when(operator: Any, condition: Callable[[], Any]) -> None:
    """Runs it, and has Airflow kill it as soon as the condition holds."""

    def kill() -> None:
        until(condition)
        operator.on_kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(AirflowException, match="interrupted"):
        operator.execute(context())
    killer.join(60)


def test_the_report_is_plain_and_holds_no_secret(site: Any, secret: str) -> None:
    report = sync(site).execute(context())
    text = json.dumps(report)
    assert report["documents"]["create"] == site.count
    assert secret not in text
    assert json.loads(text) == report or json.loads(text)["documents"] == report["documents"]


@pytest.mark.parametrize("known", [True, False])
def test_a_connection_that_is_missing_ends_it_before_anything(
    site: Any, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    operator = sync(site, aws_conn_id="aws_fleet" if known else "aws_nobody")
    if known:
        monkeypatch.delenv("AIRFLOW_CONN_AWS_FLEET")
    site.s3.clear()
    with pytest.raises(Exception, match=operator.aws_conn_id) as caught:
        operator.execute(context())
    assert "NotFound" in type(caught.value).__name__
    assert site.s3.log() == []


def test_a_field_that_cannot_be_translated_is_named(
    site: Any, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    given = json.loads(site.connection)
    given["extra"]["aws_iam_role"] = f"arn:{secret}"
    monkeypatch.setenv("AIRFLOW_CONN_AWS_FLEET", json.dumps(given))
    with pytest.raises(AirflowFailException, match="aws_iam_role") as caught:
        sync(site).execute(context())
    assert secret not in str(caught.value)


def test_a_job_as_a_mapping_and_its_overrides(site: Any) -> None:
    job = json.loads(site.job.read_text())
    report = sync(site, job=job, overrides=["policy.max_rejects=7"], prefix="day-1/").execute(context())
    assert 0 < report["documents"]["create"] < site.count


def test_a_wrong_job_fails_for_good(site: Any) -> None:
    with pytest.raises(AirflowFailException, match="sauces"):
        sync(site, job={"input": "s3://x", "sauces": []}).execute(context())


def test_a_safety_limit_fails_for_good(site: Any) -> None:
    spoil(site)
    with pytest.raises(AirflowFailException, match="nothing was written"):
        sync(site).execute(context())
    assert site.written() == 0


def test_rejected_rows_fail_the_task_for_good_unless_the_policy_lets_them_pass(site: Any) -> None:
    spoil(site)
    allowed = ["policy.max_rejects=10"]
    passing = [*allowed, "policy.rejects_fail=false"]
    with pytest.raises(AirflowFailException, match=r"rejects\.parquet"):
        sync(site, overrides=allowed).execute(context())
    assert site.written() > 0
    report = sync(site, overrides=passing).execute(context())
    assert (report["exit_code"], report["sources"][0]["rejected"] > 0) == (0, True)
    assert sync(site, overrides=allowed, fail_on_rejects=False).execute(context())["exit_code"] == 0
    with pytest.raises(AirflowFailException, match=r"rejects\.parquet"):
        sync(site, overrides=passing, fail_on_rejects=True).execute(context())


def spoil(site: Any) -> None:
    """One row of the table names a frame of an image, which has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(site.table)
    names = table["file_name"].to_pylist()
    double = pa.table({"file_name": [names[0]], "scene": ["twice"], "speed": [0]}).cast(table.schema)
    pq.write_table(pa.concat_tables([table, double]), site.table)


def test_another_run_holds_the_lease(site: Any) -> None:
    from metaferry import Job, Stop
    from metaferry import sync as plain_sync

    site.s3.set(latency_ms=100)
    stop = Stop()
    job = Job.load(site.job, ["concurrency=4"]).with_storage({"s3": site.s3.options})
    other = threading.Thread(target=plain_sync, args=(job,), kwargs={"stop": stop})
    other.start()
    try:
        until(lambda: site.written() >= 20)
        with pytest.raises(AirflowException, match="lease") as caught:
            sync(site, overrides=["lease_wait=0"]).execute(context())
        assert not isinstance(caught.value, AirflowFailException)  # a retry may find it free
    finally:
        stop.request()
        other.join(60)


def test_a_task_that_is_killed_drains_and_its_retry_does_the_rest(site: Any) -> None:
    site.s3.set(latency_ms=100)
    operator = sync(site, overrides=["concurrency=4"])
    killed_when(operator, lambda: site.written() >= 20)
    assert 20 <= site.written() < site.count
    site.s3.set(latency_ms=0)
    assert sync(site).execute(context())["documents"]["keep"] >= 20
    assert site.written() == site.count + 1  # and schema.json
    assert sync(site).execute(context())["documents"]["keep"] == site.count


def test_a_signal_while_the_job_is_read_is_not_lost(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = sync(site)
    read = operator._read_job

    def ended_meanwhile() -> Any:
        operator.on_kill()
        return read()

    monkeypatch.setattr(type(operator), "_read_job", lambda self: ended_meanwhile())
    with pytest.raises(AirflowException, match="interrupted"):
        operator.execute(context())
    assert site.written() == 0


def test_a_plan_that_is_killed_ends_without_being_kept(site: Any) -> None:
    site.s3.set(latency_ms=1000)
    out = f"s3://{site.bucket}/plans/killed"
    given = {"job": str(site.job), "aws_conn_id": "aws_fleet"}
    operator = MetaferryPlanOperator(task_id="plan", out=out, groups=3, **given)
    killed_when(operator, lambda: site.s3.log("GET"))
    assert site.s3.count(site.bucket, "plans/killed/plan.json") == 0


@pytest.mark.parametrize("part", ["plan", "write", "finish"])
def test_a_plan_whose_url_opens_it_is_refused(site: Any, part: str) -> None:
    url = "az://plans/one?sig=canary-of-the-signature"
    given = {"task_id": part, "job": str(site.job), "aws_conn_id": "aws_fleet"}
    operator: Any = {
        "plan": lambda: MetaferryPlanOperator(out=url, **given),
        "write": lambda: MetaferryShardOperator(plan=url, shard_index=0, num_shards=1, **given),
        "finish": lambda: MetaferryFinishOperator(plan=url, **given),
    }[part]()
    with pytest.raises(AirflowFailException, match="azure_conn_id") as caught:
        operator.execute(context())
    assert "canary" not in str(caught.value)


def until(condition: Any) -> None:
    moment = threading.Event()
    for _ in range(6000):
        if condition():
            return
        moment.wait(0.01)
    raise AssertionError("it never came to that")


def test_finish_names_the_shards_that_are_missing(site: Any) -> None:
    given = {"job": str(site.job), "aws_conn_id": "aws_fleet"}
    out = f"s3://{site.bucket}/plans/one"
    here = context()
    groups = MetaferryPlanOperator(task_id="plan", out=out, groups=3, **given).execute(here)
    assert groups == [{"plan": out, "shard_index": n, "num_shards": 3} for n in range(3)]
    assert here["ti"].xcoms["report"]["documents"]["create"] == site.count
    for group in groups[:2]:
        MetaferryShardOperator(task_id="write", **given, **group).execute(context())
    finish = MetaferryFinishOperator(task_id="finish", plan=out, **given)
    with pytest.raises(AirflowException, match=r"\b2\b"):
        finish.execute(context())
    assert "data/.lightly/metadata/schema.json" not in site.tree()
    MetaferryShardOperator(task_id="write", **given, **groups[2]).execute(context())
    assert finish.execute(context())["documents"]["create"] == site.count
    assert site.tree().keys() >= {"data/.lightly/metadata/schema.json"}


def test_a_plan_is_kept_in_the_state_folder_unless_another_is_named(site: Any) -> None:
    given = {"job": str(site.job), "aws_conn_id": "aws_fleet"}
    here = context()
    groups = MetaferryPlanOperator(task_id="plan", groups=2, **given).execute(here)
    kept, report = here["ti"].xcoms["plan"], here["ti"].xcoms["report"]
    assert kept == f"s3://{site.bucket}/data/.metaferry/runs/{report['run_id']}/plan"
    assert groups == [{"plan": kept, "shard_index": n, "num_shards": 2} for n in range(2)]
    for group in groups:
        MetaferryShardOperator(task_id="write", **given, **group).execute(context())
    finish = MetaferryFinishOperator(task_id="finish", plan=kept, **given)
    assert finish.execute(context())["documents"]["create"] == site.count


def test_finish_without_a_plan_fails_for_good(site: Any) -> None:
    finish = MetaferryFinishOperator(task_id="finish", plan="None", job=str(site.job))
    with pytest.raises(AirflowFailException, match="there is no plan"):
        finish.execute(context())


def test_a_job_at_a_url_is_read_with_the_connection(site: Any) -> None:
    site.s3.seed(site.bucket, ["jobs/fleet.yaml"], site.job.read_bytes())
    report = sync(site, job=f"s3://{site.bucket}/jobs/fleet.yaml").execute(context())
    assert report["documents"]["create"] == site.count
    with pytest.raises(AirflowFailException, match="there is no such job file"):
        sync(site, job=f"s3://{site.bucket}/jobs/none.yaml").execute(context())


def test_a_job_as_an_object_storage_path(site: Any, tmp_path: Path) -> None:
    try:
        from airflow.sdk import ObjectStoragePath
    except ImportError:
        from airflow.io.path import ObjectStoragePath
    path = ObjectStoragePath(f"file://{site.job}")
    assert sync(site, job=path).execute(context())["documents"]["create"] == site.count
    site.job.write_text(site.job.read_text().replace("sources", "sauces"))
    with pytest.raises(AirflowFailException, match=r"job\.yaml:1: sauces"):
        sync(site, job=path).execute(context())
    with pytest.raises(AirflowFailException, match="there is no such job file"):
        sync(site, job=path.parent / "none.yaml").execute(context())


def test_numbers_come_out_of_templates(site: Any) -> None:
    operator = sync(site, limit="{{ params.most }}")
    operator.render_template_fields({"params": {"most": 7}})
    assert operator.execute(context())["documents"]["create"] == 7
    given = {"job": str(site.job), "aws_conn_id": "aws_fleet"}
    plan = MetaferryPlanOperator(task_id="plan", groups="{{ 2 + 1 }}", shards="{{ 4 }}", **given)
    plan.render_template_fields({})
    assert [each["num_shards"] for each in plan.execute(context())] == [3, 3, 3]


@pytest.mark.parametrize(
    ("name", "value"), [("limit", "many"), ("limit", "0"), ("groups", "1025"), ("shards", "1.5")]
)
def test_a_number_that_is_none_fails_for_good(site: Any, name: str, value: str) -> None:
    operator = MetaferryPlanOperator(
        task_id="plan", job=str(site.job), aws_conn_id="aws_fleet", **{name: value}
    )
    with pytest.raises(AirflowFailException, match=rf"{name} should be a whole number.*'{value}'"):
        operator.execute(context())


def test_the_log_ends_with_examples_and_advice_for_an_operator(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(site)
    said: list[str] = []
    operator = sync(site)
    monkeypatch.setattr(type(operator), "_say", lambda self, text: said.append(text))
    with pytest.raises(AirflowFailException) as caught:
        operator.execute(context())
    assert "overrides=['policy.max_rejects=" in str(caught.value)
    assert any("record.duplicate" in line for line in said)
    assert any("table.parquet" in line for line in said)
    assert not any("--set" in line for line in [*said, str(caught.value)])


def test_more_groups_than_a_map_may_have() -> None:
    with pytest.raises(ValueError, match="1024"):
        MetaferryPlanOperator(task_id="plan", job="x", out="y", groups=1025)


@pytest.mark.parametrize("name", ["metaferry_sync", "metaferry_backfill"])
def test_parsing_a_dag_loads_nothing_heavy(examples: Path, name: str) -> None:
    file = str(examples / f"{name}.py")
    code = f"import runpy, sys, json; runpy.run_path({file!r}); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(json.loads(done.stdout.splitlines()[-1])) == set()


def test_airflow_knows_the_provider() -> None:
    code = (
        "from airflow.providers_manager import ProvidersManager as P; "
        "print('found', P().providers['metaferry'].version)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "found 0.1.0" in done.stdout, done.stderr[-2000:]


def export(site: Any, out: Path, **more: Any) -> MetaferryExportOperator:
    given = {"job": str(site.job), "aws_conn_id": "aws_fleet", "out": str(out), **more}
    return MetaferryExportOperator(task_id="export", **given)


def test_an_export_writes_the_table_of_what_was_synced(site: Any, tmp_path: Path, secret: str) -> None:
    import pyarrow.parquet as pq

    sync(site).execute(context())
    report = export(site, tmp_path / "x.parquet", as_written=True).execute(context())
    assert report["rows"] == site.count == pq.read_metadata(tmp_path / "x.parquet").num_rows
    assert secret not in json.dumps(report)
    assert secret not in (tmp_path / "x.parquet.job.yaml").read_text()


def test_an_export_without_its_invalid_documents_fails_for_good_unless_it_may(
    site: Any, tmp_path: Path
) -> None:
    sync(site).execute(context())
    broken = next(key for key in sorted(site.tree()) if not key.endswith("schema.json"))
    site.s3.seed(site.bucket, [broken])
    with pytest.raises(AirflowFailException, match="1 documents are invalid"):
        export(site, tmp_path / "x.csv").execute(context())
    assert (tmp_path / "x.csv").exists()
    assert export(site, tmp_path / "x.csv", fail_on_invalid=False).execute(context())["invalid"] == 1


def test_an_export_to_nowhere_fails_for_good(site: Any, tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match="there is no folder"):
        export(site, tmp_path / "no/x.csv").execute(context())


def check(site: Any, **more: Any) -> MetaferryCheckOperator:
    return MetaferryCheckOperator(
        task_id="check", **{"job": str(site.job), "aws_conn_id": "aws_fleet", **more}
    )


def test_a_check_fails_for_good_where_a_sync_would_change_something(site: Any) -> None:
    with pytest.raises(AirflowFailException, match=r"would create 400, .* and write schema\.json"):
        check(site).execute(context())
    assert check(site, fail_on_drift=False).execute(context())["drift"]["create"] == site.count
    assert site.written() == 0
    sync(site).execute(context())
    report = check(site).execute(context())
    assert (report["documents"]["proved"], report["documents"]["read"]) == (site.count, 0)


def test_a_check_fails_for_good_where_a_document_is_invalid_and_names_it(
    site: Any, tmp_path: Path, secret: str
) -> None:
    sync(site).execute(context())
    broken = next(key for key in sorted(site.tree()) if not key.endswith("schema.json"))
    site.s3.seed(site.bucket, [broken])
    found = tmp_path / "findings.parquet"
    with pytest.raises(AirflowFailException, match="1 invalid in s3://") as caught:
        check(site, fail_on_drift=False, out=str(found)).execute(context())
    assert broken.removeprefix("data/") in str(caught.value)
    assert secret not in str(caught.value)
    assert found.exists()


def test_a_sample_that_is_none_fails_a_check_for_good(site: Any) -> None:
    with pytest.raises(AirflowFailException, match="is no sample"):
        check(site, sample="some").execute(context())


def page(site: Any, out: str, **more: Any) -> MetaferryReportOperator:
    given = {"job": str(site.job), "aws_conn_id": "aws_fleet", "out": out, **more}
    return MetaferryReportOperator(task_id="report", **given)


def payload_of(html: str) -> str:
    """What a page shows, as it is packed in it: JSON, then the codes of the documents."""
    (packed,) = re.findall(r'id="payload">([^<]*)<', html)
    return gzip.decompress(base64.b64decode(packed)).decode("latin-1")


def test_a_report_leaves_its_page_in_the_bucket_and_its_url_in_xcom(site: Any, secret: str) -> None:
    sync(site).execute(context())
    broken = next(key for key in sorted(site.tree()) if not key.endswith("schema.json"))
    site.s3.seed(site.bucket, [broken])
    here, url = context(), f"s3://{site.bucket}/pages/fleet.html"
    assert page(site, url).execute(here) == url
    found = site.s3.objects(site.bucket, "pages/")["pages/fleet.html"].decode()
    counted = here["ti"].xcoms["report"]
    assert (counted["out"], counted["invalid"], counted["notes"]) == (url, 1, [])
    assert counted["bytes"] == len(found.encode())
    assert broken.removeprefix("data/") in payload_of(found)
    assert secret not in found + payload_of(found) + json.dumps(counted)


@pytest.mark.parametrize("drift", [True, False])
def test_a_report_plans_the_job_unless_it_is_told_not_to(site: Any, tmp_path: Path, drift: bool) -> None:
    sync(site).execute(context())
    spoil(site)
    out = tmp_path / "page.html"
    assert page(site, str(out), drift=drift).execute(context()) == str(out)
    assert ("record.duplicate" in payload_of(out.read_text())) is drift


def test_a_report_under_a_name_that_is_no_page_fails_for_good(site: Any, tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match="a report is one HTML file"):
        page(site, str(tmp_path / "page.pdf")).execute(context())
    config = {"nSamples": 3, "strategies": "none"}
    with pytest.raises(AirflowFailException, match="strategies"):
        page(site, str(tmp_path / "page.html"), selection=config).execute(context())
    assert list(tmp_path.glob("page.*")) == []


def test_a_report_to_a_url_that_opens_the_place_is_refused(site: Any) -> None:
    with pytest.raises(AirflowFailException, match="azure_conn_id") as caught:
        page(site, "az://pages/one.html?sig=canary-of-the-signature").execute(context())
    assert "canary" not in str(caught.value)


def test_the_outlet_of_a_report_gets_its_counts(site: Any, tmp_path: Path) -> None:
    class Event:
        def __init__(self) -> None:
            self.extra: dict[str, Any] = {}

    sync(site).execute(context())
    fleet = Asset("s3://fleet/pages")
    here = {"ti": Pushed(), "outlet_events": {fleet: Event()}}
    page(site, str(tmp_path / "page.html"), outlets=[fleet]).execute(here)
    assert here["outlet_events"][fleet].extra == {
        "documents": site.count,
        "states": {"document": site.count},
        "invalid": 0,
    }
