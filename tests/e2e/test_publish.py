"""Metrics at the end of a sync: what a gateway and a collector get, and what becomes of a run whose
gateway refuses, is away, or takes the connection and never answers."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.world import World
from metaferry.demo import make_dataset
from metaferry.progress import Stop
from servers.collectors import Gateway, Series, collector, gateway, silent
from servers.process import free_port

PASSWORD = "canary-password-1899"


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    dataset = make_dataset(tmp_path_factory.mktemp("demo"))
    return (dataset.media / dataset.images[0]).read_bytes()


@pytest.fixture
def world(tmp_path: Path, picture: bytes) -> World:
    world = World(tmp_path)
    for name in ("a.png", "b.png"):
        world.put(f"data/images/{name}", picture)
    world.put("tables/labels.csv", "file_name,scene\nimages/a.png,city\nimages/b.png,road\nimages/c.png,x\n")
    world.job = {"input": "data", "sources": [{"name": "labels", "table": "tables/labels.csv"}]}
    return world


def value(series: Series, name: str, **labels: str) -> float | None:
    return series.get((name, tuple(sorted({"metaferry_job": "fleet", **labels}.items()))))


def pushed(at: Gateway) -> Series:
    (group,) = at.groups.values()
    return {(name, tuple(one for one in labels if one[0] != "job")): n for (name, labels), n in group.items()}


def metrics(world: World, **settings: Any) -> None:
    world.job["metrics"] = {"job": "fleet", **settings}
    world.write_job()


def test_a_run_tells_both_what_it_did(world: World) -> None:
    with gateway() as at, collector() as to:
        metrics(world, gateway=at.url, otlp=to.url)
        ran = world.run("sync", "job.yaml")
        assert (ran.code, ran.err) == (0, "")
        assert [(method, path) for method, path, _ in at.asked] == [
            ("PUT", "/metrics/job/metaferry/metaferry_job/fleet")
        ]
        assert [(method, path) for method, path, _ in to.asked] == [("POST", "/v1/metrics")]
        assert to.services == ["metaferry"]
        for series in (pushed(at), to.requests[0]):
            assert value(series, "metaferry_last_run_documents", action="create") == 2
            assert value(series, "metaferry_last_run_records", source="labels", result="unmatched") == 1
            assert value(series, "metaferry_last_run_rejects", code="record.unmatched") == 1
            assert value(series, "metaferry_last_run_exit_code") == 0
            assert value(series, "metaferry_last_run_media", kind="image") == 2
            # Two documents, schema.json, and what the state folder and its lease take.
            assert (value(series, "metaferry_last_run_requests", kind="put", result="ok") or 0) > 3
            assert (value(series, "metaferry_last_run_bytes", direction="written") or 0) > 100
        assert pushed(at) == to.requests[0]


def test_a_failed_run_tells_its_code_and_leaves_the_last_success(world: World) -> None:
    with gateway() as at:
        metrics(world, gateway=at.url)
        assert world.run("sync", "job.yaml").code == 0
        success = value(pushed(at), "metaferry_last_success_timestamp_seconds")
        assert success is not None
        (world.root / "tables/labels.csv").unlink()
        assert world.run("sync", "job.yaml").code == 2
        assert [method for method, *_ in at.asked] == ["PUT", "POST"]
        series = pushed(at)
        assert value(series, "metaferry_last_run_exit_code") == 2
        assert value(series, "metaferry_last_success_timestamp_seconds") == success
        assert (value(series, "metaferry_last_run_timestamp_seconds") or 0) >= success
        assert value(series, "metaferry_last_run_documents", action="create") == 0
        assert value(series, "metaferry_last_run_records", source="labels", result="used") == 0
        assert value(series, "metaferry_last_run_requests", kind="list", result="ok") == 1


def test_a_run_that_a_limit_stopped_and_one_that_was_interrupted(world: World) -> None:
    with gateway() as at:
        metrics(world, gateway=at.url)
        assert world.run("sync", "job.yaml", "--set", "policy.unmatched=reject").code == 5
        assert value(pushed(at), "metaferry_last_run_exit_code") == 5
        assert value(pushed(at), "metaferry_last_run_documents", action="deferred") == 2
        assert value(pushed(at), "metaferry_last_success_timestamp_seconds") is None
        stop = Stop()
        stop.request()
        with pytest.raises(metaferry.Interrupted):
            metaferry.sync(world.root / "job.yaml", stop=stop)
        assert value(pushed(at), "metaferry_last_run_exit_code") == 130


def test_the_user_of_the_url_is_sent_and_never_shown(world: World) -> None:
    with gateway() as at, collector() as to:
        hidden = [url.replace("//", f"//me:{PASSWORD}%21@") for url in (at.url, to.url)]
        metrics(world, gateway=hidden[0], otlp=f"{hidden[1]}/otlp?key={PASSWORD}")
        ran = world.run("sync", "job.yaml", "-vv")
        assert ran.code == 0
        for (_, path, headers), wanted in ((at.asked[0], "/metrics/job"), (to.asked[0], "/otlp?key=")):
            assert path.startswith(wanted)
            assert headers["Authorization"] == "Basic bWU6Y2FuYXJ5LXBhc3N3b3JkLTE4OTkh"
        at.status = to.status = 500
        failed = world.run("sync", "job.yaml", "-vv")
        assert failed.code == 0
        assert failed.err.count("status 500") == 2
        assert PASSWORD not in world.everything_said(ran) + world.everything_said(failed)


def test_a_redirect_is_not_followed(world: World) -> None:
    """Whoever answers with one would get the password."""
    with gateway() as at, gateway() as fallback_reason:
        at.status, at.headers = 307, {"Location": f"{fallback_reason.url}/"}
        metrics(world, gateway=at.url.replace("//", f"//me:{PASSWORD}@"))
        ran = world.run("sync", "job.yaml")
        assert ran.code == 0
        assert "status 307" in ran.err
        assert fallback_reason.asked == []


def test_the_headers_of_opentelemetrys_variables_hold(world: World) -> None:
    with collector() as to:
        metrics(world, otlp=f"{to.url}/")
        key = {"OTEL_EXPORTER_OTLP_HEADERS": f"api-key={PASSWORD}"}
        ran = world.run("sync", "job.yaml", environment=key)
        (asked,) = to.asked
        assert asked[1] == "/v1/metrics"
        assert {name.lower(): text for name, text in asked[2].items()}["api-key"] == PASSWORD
        assert PASSWORD not in world.everything_said(ran)


@contextlib.contextmanager
def nobody() -> Any:
    yield f"http://127.0.0.1:{free_port()}"


@contextlib.contextmanager
def nameless() -> Any:
    yield "http://no-such-host.invalid:9091"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (nobody, r"to http://127\.0\.0\.1:\d+: connection refused"),
        (nameless, r"to http://no-such-host\.invalid:9091: "),
        (silent, r"to http://127\.0\.0\.1:\d+: no answer (in time|within 0\.5 s)"),
    ],
)
def test_what_cannot_be_reached_is_one_warning(
    world: World, place: Callable[[], AbstractContextManager[str]], words: str
) -> None:
    with place() as url:
        # Without a bound the silent port would hold it up for ever.
        metrics(world, timeout=0.5, gateway=url, otlp=url)
        ran = world.run("sync", "job.yaml")
        assert ran.code == 0
        lines = ran.err.splitlines()
        assert len(lines) == 2
        for line in lines:
            assert re.search(f"warning .*the metrics of this run were not sent {words}", line), line


def test_without_the_extra_nothing_begins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str, package: str | None = None) -> Any:
        return None if name.startswith("opentelemetry") else real(name, package)

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", find)
    metrics(world, otlp="http://127.0.0.1:9")
    ran = world.run("sync", "job.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert "metrics.otlp needs the OpenTelemetry libraries" in ran.err
    assert 'pip install "metaferry[otlp]"' in ran.err
    assert not (world.data / ".lightly").exists()
    assert world.run("plan", "job.yaml").code == 0, "which sends nothing"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gateway": f"ftp://me:{PASSWORD}@host"}, "metrics.gateway: should be an http:// or https:// URL"),
        ({"otlp": f"{PASSWORD}"}, "metrics.otlp: should be an http:// or https:// URL"),
        ({"gateway": f"http://h/?token={PASSWORD}"}, "metrics.gateway: should be a URL without a query"),
        ({"timeout": 0}, "metrics.timeout"),
        ({"gatway": f"http://{PASSWORD}@h"}, 'metrics.gatway: unknown key; did you mean "gateway"?'),
    ],
)
def test_wrong_settings(world: World, settings: dict[str, Any], words: str) -> None:
    metrics(world, **settings)
    ran = world.run("sync", "job.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert PASSWORD not in ran.err


def test_the_job_shows_no_credentials_of_its_targets() -> None:
    job = metaferry.Job.from_mapping(
        {
            "input": "s3://me:x@bucket/data/",
            "sources": [{"table": "t.csv"}],
            "metrics": {
                "gateway": f"https://me:{PASSWORD}@gateway/",
                "otlp": f"https://collector?key={PASSWORD}",
            },
        }
    )
    assert PASSWORD not in repr(job) + str(job)
    assert "https://gateway/" in repr(job)
    assert job.label == "s3://bucket/data"
    assert job.digest() == job.model_copy(update={"metrics": type(job.metrics)()}).digest()


def test_a_kept_plan_is_told_of_at_its_end(world: World) -> None:
    """Shares send nothing, since they would take each other's place; whoever ends the plan does."""
    with gateway() as at:
        metrics(world, gateway=at.url.replace("//", "//me:${GATEWAY_PASSWORD}@"))
        secret = {"GATEWAY_PASSWORD": PASSWORD}
        assert world.run("plan", "job.yaml", "--out", "plan", environment=secret).code == 0
        share = ("--num-shards", "1", "--shard-index", "0")
        assert world.run("sync", "job.yaml", "--plan", "plan", *share, environment=secret).code == 0
        assert at.asked == []
        finished = world.run("finish", "plan", environment=secret)
        assert finished.code == 0, finished
        assert value(pushed(at), "metaferry_last_run_documents", action="create") == 2
        assert value(pushed(at), "metaferry_last_run_exit_code") == 0
        assert "Authorization" in at.asked[0][2]
        assert PASSWORD not in (world.root / "plan/plan.json").read_text()
        # The same in one go, and one that fails.
        assert world.run("plan", "job.yaml", "--out", "plan2", environment=secret).code == 0
        assert world.run("sync", "job.yaml", "--plan", "plan2", environment=secret).code == 0
        assert value(pushed(at), "metaferry_last_run_documents", action="keep") == 2
        assert world.run("sync", "job.yaml", "--plan", "nothing", environment=secret).code == 2
        assert value(pushed(at), "metaferry_last_run_exit_code") == 2
        assert len(at.asked) == 3
