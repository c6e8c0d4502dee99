"""The container image, built and run: as nobody, on a read-only root, with nothing but /tmp to write to."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from image.compose import Compose, services
from image.engine import ROOT, BuildFailed, Container, Engine
from image.runs import DOCUMENTS, report_of, run, s3_job
from servers.process import wait_until
from servers.s3 import FastS3

pytestmark = [pytest.mark.slow, pytest.mark.servers, pytest.mark.timeout(3600)]

PROBE = """
import importlib.util, json, os, pathlib, shutil
tools = ("pip", "pip3", "apt", "apt-get", "dpkg", "gcc", "cc", "make", "git", "curl", "wget")
modules = ("pip", "ensurepip", "setuptools", "hatchling")
places = ("/", "/work", "/opt/metaferry", "/usr", "/etc", "/home", "/var/tmp", "/tmp")
files = [path for top in ("/opt", "/usr") for path in pathlib.Path(top).rglob("*") if path.is_file()]
# The word after the magic number: 1 for a hash that is never checked (PEP 552).
stale = [str(path) for path in files if path.suffix == ".pyc" and path.read_bytes()[4:8] != b"\\1\\0\\0\\0"]
print(json.dumps({
    "stale": stale,
    "bytecode": len([path for path in files if path.suffix == ".pyc"]),
    "copyright": pathlib.Path("/usr/share/doc/libc6/copyright").exists(),
    "packages": pathlib.Path("/var/lib/dpkg/status").read_text().count("Package: "),
    "uid": os.getuid(),
    "first": pathlib.Path("/proc/1/comm").read_text().strip(),
    "tools": [name for name in tools if shutil.which(name)],
    "modules": [name for name in modules if importlib.util.find_spec(name)],
    "writable": [name for name in places if os.access(name, os.W_OK)],
    "setuid": [str(path) for path in files if path.stat().st_mode & 0o6000],
    "home": os.path.expanduser("~"),
}))
"""


def test_it_holds_python_and_the_packages_and_no_tools(engine: Engine, image: str) -> None:
    probe = Container(
        "metaferry-test-probe", image, ["--", "/opt/metaferry/bin/python", "-c", PROBE], entrypoint="tini"
    )
    done = run(engine, probe)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["uid"] == 10001
    assert found["first"] == "tini"
    assert found["tools"] == found["modules"] == found["setuid"] == []
    assert found["writable"] == ["/tmp"]
    assert found["home"] == "/tmp"
    assert found["stale"] == []
    assert found["bytecode"] > 1_000
    assert found["copyright"]
    assert found["packages"] > 50


def test_it_runs_metaferry_as_a_user_without_rights(engine: Engine, image: str) -> None:
    config = engine.inspect(image)["Config"]
    assert config["Entrypoint"] == ["tini", "--", "metaferry"]
    assert config["User"] == "10001:10001"
    assert (
        run(engine, Container("metaferry-test-version", image, ["--version"])).stdout == "metaferry 0.1.0\n"
    )


def test_the_demonstration(engine: Engine, image: str) -> None:
    done = run(engine, Container("metaferry-test-demo", image, ["demo", "/tmp/demo", "--format", "json"]))
    report = report_of(done)
    assert report["documents"]["create"] == DOCUMENTS
    assert report["documents"]["failed"] == 0


def test_terminated_it_drains_and_the_next_run_goes_on(
    engine: Engine, image: str, fast_s3_server: FastS3, tmp_path: Path
) -> None:
    """As process 1 behind tini: SIGTERM ends the run cleanly, with 143 as the container's code."""
    server = fast_s3_server
    server.reset()
    bucket = server.new_bucket()
    job = s3_job(server, bucket, tmp_path)
    server.set(latency_ms=300)
    container = Container(
        "metaferry-test-term", image, ["sync", "job.yaml", "--format", "json"], mounts={job: "/work/job.yaml"}
    )
    process = subprocess.Popen(
        engine.command(container), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        wait_until(lambda: server.count(bucket, "data/.lightly/metadata/") >= 20, process)
        engine.signal(container.name, "TERM")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    report = json.loads(out)
    assert 20 <= report["documents"]["create"] < DOCUMENTS
    assert report["documents"]["create"] + report["documents"]["deferred"] == DOCUMENTS
    in_place = server.objects(bucket, "data/.lightly/metadata/")
    assert len(in_place) == report["documents"]["create"]
    assert all(body.endswith(b"}") for body in in_place.values())
    assert server.count(bucket, "data/.metaferry/lease.json") == 0

    server.set(latency_ms=0)
    other = replace(container, name="metaferry-test-again", user="4242:4242")
    again = report_of(run(engine, other))["documents"]
    assert (again["create"], again["keep"]) == (DOCUMENTS - len(in_place), len(in_place))
    assert report_of(run(engine, other))["documents"]["keep"] == DOCUMENTS


def test_what_docker_compose_starts(engine: Engine, image: str) -> None:
    """The emulators, the seed, a run on each of the three stores, and the loop, as the file has them."""
    engine.build_image(services()["s3"]["image"], target="emulators")
    compose = Compose(engine)
    with compose.up("s3"), compose.up("gcs"), compose.up("azure"):
        seeded = compose.run("seed")
        assert seeded.returncode == 0, seeded.stderr
        for name in ("sync-s3", "sync-gcs", "sync-azure"):
            first, second = (report_of(compose.run(name, "--format", "json"))["documents"] for _ in range(2))
            assert (first["create"], first["failed"]) == (DOCUMENTS, 0), name
            assert (second["keep"], second["create"], second["update"]) == (DOCUMENTS, 0, 0), name
        with compose.up("schedule") as loop:
            wait_until(lambda: b"\nmetaferry_last_run_exit_code{" in metrics(), loop)
            assert f'action="keep",metaferry_job="s3://demo/data"}} {DOCUMENTS}.0'.encode() in metrics()
            engine.signal(compose.container("schedule").name, "TERM")
            assert loop.wait(60) == 143


#: A module of each extra's own packages.
OF_EXTRAS = {
    "dask": "distributed",
    "lake": "deltalake, pyiceberg.catalog",
    "mysql": "pymysql",
    "otlp": "opentelemetry.exporter.otlp.proto.http, opentelemetry.sdk",
    "sql": "adbc_driver_manager.dbapi, adbc_driver_postgresql.dbapi, adbc_driver_sqlite.dbapi",
    "telemetry": "mcap.reader, pynmea2, rosbags.highlevel",
}


def test_extras_are_built_in_by_name(engine: Engine, image: str) -> None:
    tag = f"{image}-extras"
    locks = {path.stem.removeprefix("extras-") for path in (ROOT / "deploy").glob("extras-*.lock")}
    assert locks == set(OF_EXTRAS)
    engine.build_image(tag, arguments={"EXTRAS": " ".join(OF_EXTRAS)})
    words = ["-c", f"import {', '.join(OF_EXTRAS.values())}; print('all')"]
    done = run(engine, Container("metaferry-test-extras", tag, words, entrypoint="/opt/metaferry/bin/python"))
    assert (done.stdout, done.returncode) == ("all\n", 0), done.stderr
    with pytest.raises(BuildFailed, match=r"there is no extra daskk; there are: .*extras-dask\.lock"):
        engine.build_image(tag, arguments={"EXTRAS": "daskk"})


# -- helpers


def metrics() -> bytes:
    """What the loop of docker-compose.yml shows on its port."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open("http://127.0.0.1:9464/metrics", timeout=10) as answer:
        shown: bytes = answer.read()
    return shown
