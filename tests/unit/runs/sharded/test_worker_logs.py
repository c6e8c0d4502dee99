"""The log of a worker elsewhere: each line names its run and holds no secret, whoever's handler shows it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from metaferry.demo import make_dataset
from metaferry.engines.choose import open_workers
from metaferry.engines.shards import run_shards
from metaferry.masking import remember
from metaferry.progress import Stop
from metaferry.runs.sharded.worker_logs import log_of_run

SECRET = "canary-secret-of-the-job-0815"


def test_lines_name_their_run_and_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    remember({"secret": SECRET})
    with log_of_run("20261127T000000Z-abc"), caplog.at_level(logging.WARNING):
        logging.getLogger("metaferry.storage").warning("retried with %s", SECRET)
        logging.getLogger("botocore").warning("GET https://user:pw@host/x?sig=%s", SECRET)
        logging.getLogger("botocore").warning("wrong %d", "arguments")
        try:
            raise ValueError(SECRET)
        except ValueError:
            logging.getLogger("azure").exception("failed")
    ours, foreign, wrong, failed = (record.getMessage() for record in caplog.records)
    assert ours == "run 20261127T000000Z-abc: retried with ***"
    assert "sig" not in foreign
    assert wrong == "wrong %d"
    assert failed == "failed"
    assert SECRET not in caplog.text
    caplog.clear()
    logging.getLogger("somebody.else").warning("after it %s", "as before")
    assert caplog.records[0].args == ("as before",)


def test_shards_of_two_runs_at_once_name_none(caplog: pytest.LogCaptureFixture) -> None:
    with log_of_run("one"), caplog.at_level(logging.WARNING):
        with log_of_run("two"):
            logging.getLogger("metaferry.x").warning("whose?")
        logging.getLogger("metaferry.x").warning("mine")
    assert [record.getMessage() for record in caplog.records] == ["whose?", "run one: mine"]


@pytest.mark.slow
def test_a_dask_worker_logs_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Over a real cluster: what a shard's task logs on the worker is in the worker's stderr."""
    pytest.importorskip("distributed")
    import metaferry
    from metaferry.job.model import Job
    from metaferry.runs.sharded.task import task_for
    from unit.engines.tasks import log_in_shard

    dataset = make_dataset(tmp_path / "demo")
    table = tmp_path / "labels.csv"
    table.write_text(f"file_name,scene\n{dataset.images[0]},city\n")
    job = Job.from_mapping(
        {
            "input": str(dataset.media),
            "sources": [{"table": str(table)}],
            "storage": {"s3": {"secret": SECRET}},
        }
    )
    plan = metaferry.plan(job, out=str(tmp_path / "plan"))
    order = task_for(job, str(tmp_path / "plan"), 0, run_id=plan.run_id, scope="b", share=1, alone=True)
    assert SECRET not in repr(order)
    with open_workers("dask", scope="b", workers=1, grace=5.0) as workers:
        ran = run_shards(workers, log_in_shard, {0: order}, stop=Stop(), grace=5.0)
    assert ran.given_up == {}
    said = capfd.readouterr().err
    assert f"run {plan.run_id}: in the shard with ***" in said
    assert SECRET not in said
