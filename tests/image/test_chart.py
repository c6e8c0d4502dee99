"""What the chart's pods run, in the image: the words, the environment and the user that Helm rendered.

A cluster is not needed for that, nor asked for: the kubelet's part (config maps as files, `$(NAME)` in words,
probes) is done here.
"""

from __future__ import annotations

import re
import subprocess
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from image.engine import Container, Engine
from image.runs import DOCUMENTS, report_of, run, s3_job
from servers.process import wait_until
from servers.s3 import FastS3
from unit.deploy import helm

pytestmark = [pytest.mark.slow, pytest.mark.servers, pytest.mark.timeout(3600)]

PODS = 2


class Release:
    """A rendered chart, and the containers that its pods would be."""

    def __init__(self, image: str, values: dict[str, Any], folder: Path) -> None:
        self.documents = helm.render(values)
        self.image = image
        self.folder = folder
        self.config = {
            each["metadata"]["name"]: each["data"] for each in self.documents if each["kind"] == "ConfigMap"
        }

    def object(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = [
            each for each in self.documents if (each["kind"], each["metadata"]["name"]) == (kind, name)
        ]
        return found

    def container(self, kind: str, name: str, **environment: str) -> Container:
        """The pod's container as the kubelet starts it: read-only, without capabilities, as its user."""
        template = helm.template_of(self.object(kind, name))
        assert template
        spec = template["spec"]
        (container,) = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        given = dict(environment)
        for source in container["envFrom"]:
            given |= self.config[source["configMapRef"]["name"]] if "configMapRef" in source else {}
        words = [re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], word) for word in container["args"]]
        places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        mounts = {}
        for volume in spec["volumes"]:
            for file, text in self.config.get(volume.get("configMap", {}).get("name"), {}).items():
                path = self.folder / file
                path.write_text(text, encoding="utf-8")
                path.chmod(0o644)
                mounts[path] = f"{places[volume['name']]}/{file}"
        user = spec["securityContext"]
        return Container(
            name=f"metaferry-test-{kind.lower()}-{name}",
            image=self.image,
            words=words,
            user=f"{user['runAsUser']}:{user['runAsGroup']}",
            environment=given,
            mounts=mounts,
        )


def release(image: str, server: FastS3, bucket: str, folder: Path, **values: Any) -> Release:
    text = s3_job(server, bucket, folder).read_text(encoding="utf-8")
    mounted = folder / "config"
    mounted.mkdir()
    return Release(image, {"job": text, **values}, mounted)


def test_the_schedule_and_single_commands(
    engine: Engine, image: str, fast_s3_server: FastS3, tmp_path: Path
) -> None:
    fast_s3_server.reset()
    made = release(image, fast_s3_server, fast_s3_server.new_bucket(), tmp_path)
    schedule = made.container("CronJob", "metaferry")
    assert report_of(run(engine, schedule))["documents"]["create"] == DOCUMENTS
    # As deploy/once.sh has them: other words in the same pod.
    for words, code in (
        (["plan", "/etc/metaferry/job.yaml", "--exit-code"], 0),
        (["unlock", "/etc/metaferry/job.yaml"], 0),
        (["doctor", "/etc/metaferry/job.yaml"], 0),
    ):
        done = run(engine, replace(schedule, words=words))
        assert done.returncode == code, done.stderr


def test_a_backfill(engine: Engine, image: str, fast_s3_server: FastS3, tmp_path: Path) -> None:
    fast_s3_server.reset()
    bucket = fast_s3_server.new_bucket()
    backfill = {"enabled": True, "planUrl": f"s3://{bucket}/data/.metaferry/plans/backfill", "pods": PODS}
    made = release(image, fast_s3_server, bucket, tmp_path, backfill=backfill)
    assert report_of(run(engine, made.container("Job", "metaferry-plan")))["documents"]["create"] == DOCUMENTS
    assert made.object("Job", "metaferry-shards")["spec"]["completions"] == PODS
    for index in range(PODS):
        pod = made.container("Job", "metaferry-shards", JOB_COMPLETION_INDEX=str(index))
        done = run(engine, pod)
        assert done.returncode == 0, done.stderr
    finished = report_of(run(engine, made.container("Job", "metaferry-finish")))
    assert (finished["documents"]["create"], finished["documents"]["failed"]) == (DOCUMENTS, 0)
    assert fast_s3_server.count(bucket, "data/.lightly/metadata/") == DOCUMENTS + 1  # schema.json


def test_serve_answers_its_probes_and_drains(
    engine: Engine, image: str, fast_s3_server: FastS3, tmp_path: Path
) -> None:
    fast_s3_server.reset()
    made = release(image, fast_s3_server, fast_s3_server.new_bucket(), tmp_path, mode="serve")
    template = helm.template_of(made.object("Deployment", "metaferry"))
    assert template
    (spec,) = template["spec"]["containers"]
    (port,) = [each["containerPort"] for each in spec["ports"]]
    container = made.container("Deployment", "metaferry")
    with subprocess.Popen(
        engine.command(container), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            path = spec[probe]["httpGet"]["path"]
            wait_until(lambda path=path: answer(port, path) == 200, process)
        assert answer(port, "/metrics") == 200
        engine.signal(container.name, "TERM")
        process.communicate(timeout=template["spec"]["terminationGracePeriodSeconds"])
    assert process.returncode == 143


def answer(port: int, path: str) -> int:
    """The status that a probe would get; 0 where nothing answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=10) as got:
            return int(got.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
