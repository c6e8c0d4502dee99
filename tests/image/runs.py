"""Runs of the image on a server of S3 in memory, which the tests of image and chart share."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from image.engine import ROOT, Container, Engine
from metaferry.demo import make_dataset
from servers.s3 import FastS3

#: What the demonstration's tables make: 12 images, 4 videos, 1,219 frames.
DOCUMENTS = 1_235


def run(engine: Engine, container: Container, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    command = engine.command(container)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)


def report_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The report of a run with `--format json` that went well."""
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def s3_job(server: FastS3, bucket: str, folder: Path) -> Path:
    """The job of docker-compose.yml on a bucket of its own, and the demonstration's files in it."""
    dataset = make_dataset(folder / "demo")
    from metaferry.storage.factory import open_storage
    from metaferry.storage.io.portal import Portal

    with Portal() as portal:
        storage = open_storage(f"s3://{bucket}", server.options)
        for path in sorted(path for path in dataset.root.rglob("*") if path.is_file()):
            portal.run(storage.put(path.relative_to(dataset.root).as_posix(), path.read_bytes()))
        portal.run(storage.close())
    job = yaml.safe_load(
        (ROOT / "deploy/compose/job.yaml").read_text().replace("${BUCKET}", f"s3://{bucket}")
    )
    job["storage"] = {"s3": server.options}
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    path.chmod(0o644)
    return path
