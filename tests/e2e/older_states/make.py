"""Makes a fixture: the bucket of a datasource as the code of an earlier commit left it.

    git worktree add /tmp/old COMMIT
    PYTHONPATH=tests:service python tests/e2e/older_states/make.py /tmp/old tests/e2e/older_states/NAME.zip

The code in the worktree does a sync, keeps a plan in two shards, applies one of them, and is killed in the
middle of another sync, which leaves its lease. Run by hand where a format gets a new version. Folders of
libraries that the code needs and this one does not can be named behind the file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import yaml

from metaferry.demo import make_dataset
from servers.proxy import Rule
from servers.s3 import FastS3, fast_s3

BUCKET = "fleet"
PLAN = f"s3://{BUCKET}/2026/.metaferry/plans/1"
LEASE = "2026/.metaferry/lease.json"
#: The address of the server is part of a job's digest where it is an option, and each server has another.
JOB = {
    "input": f"s3://{BUCKET}/2026/",
    "sources": [
        {"table": f"s3://{BUCKET}/tables/images.csv", "metadata": {"scene": "scene"}},
        {"table": f"s3://{BUCKET}/tables/frames.csv", "frame": "frame", "metadata": {"speed": "speed"}},
    ],
    "policy": {"delete": "orphans", "max_delete": "100%"},
    "lease_for": 5,
    "transport": "fsspec",
    "storage": {"s3": {"client_kwargs": {"region_name": "us-east-1"}}},
}
IMAGES = [f"images/{name}.png" for name in "abcdefgh"]
VIDEO = "videos/rear/2026-05-14_0930.webm"

_FIRST = """
import metaferry, sys
job = metaferry.Job.load(sys.argv[1])
assert metaferry.sync(job).exit_code == 0
"""
_PLAN = """
import metaferry, sys
job = metaferry.Job.load(sys.argv[1])
metaferry.plan(job, out=sys.argv[2], shards=2)
assert metaferry.sync(job, plan=sys.argv[2], shard_index=0, num_shards=2).exit_code == 0
"""


def labels(scene: str) -> bytes:
    return ("file_name,scene\n" + "".join(f"{name},{scene}\n" for name in IMAGES)).encode()


def environment(server: FastS3) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": server.key,
        "AWS_SECRET_ACCESS_KEY": server.secret,
    }


def seed(server: FastS3, video: bytes) -> None:
    server.control(bucket=BUCKET)
    server.seed(BUCKET, [f"2026/{name}" for name in IMAGES])
    server.put(BUCKET, f"2026/{VIDEO}", video)
    server.put(BUCKET, "tables/images.csv", labels("city"))
    rows = "".join(f"{VIDEO},{n},{n}.5\n" for n in range(3))
    server.put(BUCKET, "tables/frames.csv", f"file_name,frame,speed\n{rows}".encode())


def main(worktree: Path, out: Path, *libraries: str) -> None:
    with fast_s3() as server, tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder) / "demo")
        seed(server, (dataset.media / VIDEO).read_bytes())
        job = Path(folder) / "job.yaml"
        job.write_text(yaml.safe_dump(JOB))
        path = os.pathsep.join([str(worktree / "service"), *libraries])
        env = {**os.environ, **environment(server), "PYTHONPATH": path}

        def run(code: str, *arguments: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen([sys.executable, "-c", code, str(job), *arguments], env=env)

        assert run(_FIRST).wait() == 0
        server.put(BUCKET, "tables/images.csv", labels("market"))
        assert run(_PLAN, PLAN).wait() == 0
        rule = server.add(Rule("wait", "PUT", r"metadata/", seconds=60.0, times=100))
        killed = run(_FIRST)
        while not server.used(rule):
            time.sleep(0.05)  # noqa: TID251 - a script
        killed.kill()
        killed.wait()
        server.clear()
        objects = server.objects(BUCKET)
        # As a process of another machine, which nobody can ask about it.
        lease = json.loads(objects[LEASE])
        lease |= {"host": "node-7", "user": "anna", "machine": "", "pid": 4711, "started": 0}
        objects[LEASE] = json.dumps(lease, indent=2).encode()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, data in sorted(objects.items()):
                archive.writestr(zipfile.ZipInfo(key), data, zipfile.ZIP_DEFLATED)
        print(out, f"{out.stat().st_size:,} bytes", *objects, sep="\n  ")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
