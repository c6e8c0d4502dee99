"""Makes a fixture with backups: three runs of the code of an earlier commit, the last of which is killed.

    git worktree add /tmp/old COMMIT
    PYTHONPATH=tests:service python tests/e2e/older_states/make_backup.py /tmp/old FILE.zip [KEY=JSON …]

The runs have the images in a city, in a market and in a tunnel; the third is killed when a part of its
documents is written. Keys go over those of the job: `compact=true` where the code has that. The ids of the
second and the third run are in `RUNS` of the archive. Run by hand where the format of backups gets a new
version.
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
from typing import Any

import yaml

from e2e.older_states.make import BUCKET, IMAGES, JOB, LEASE, VIDEO, environment, labels, seed
from metaferry.demo import make_dataset
from servers.proxy import Rule
from servers.s3 import fast_s3

#: Backups are kept for as long as fixtures are: runs of today clear those away that are too old.
BACKUP_JOB: dict[str, Any] = {**JOB, "backup": {"keep": "36500d"}}
RUNS = "runs.json"
_SYNC = """
import metaferry, sys
report = metaferry.sync(metaferry.Job.load(sys.argv[1]))
assert report.exit_code == 0
print(report.run_id)
"""


def main(worktree: Path, out: Path, *keys: str) -> None:
    given = {key: json.loads(value) for key, _, value in (each.partition("=") for each in keys)}
    with fast_s3() as server, tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder) / "demo")
        seed(server, (dataset.media / VIDEO).read_bytes())
        job = Path(folder) / "job.yaml"
        job.write_text(yaml.safe_dump(BACKUP_JOB | given))
        env = {**os.environ, **environment(server), "PYTHONPATH": str(worktree / "service")}

        def begun() -> subprocess.Popen[str]:
            command = [sys.executable, "-c", _SYNC, str(job)]
            return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

        ids = []
        for scene in ("city", "market"):
            server.put(BUCKET, "tables/images.csv", labels(scene))
            out_of_it, _ = (process := begun()).communicate()
            assert process.returncode == 0
            ids.append(out_of_it.strip())
        server.put(BUCKET, "tables/images.csv", labels("tunnel"))
        before = server.objects(BUCKET, "2026/.lightly/")
        rule = server.add(
            Rule("wait", "PUT", rf"metadata/{IMAGES[-1].partition('.')[0]}", seconds=60.0, times=100)
        )
        killed = begun()
        while not server.used(rule) or server.objects(BUCKET, "2026/.lightly/") == before:
            time.sleep(0.05)  # noqa: TID251 - a script
        killed.kill()
        killed.communicate()
        server.clear()
        objects = {key: data for key, data in server.objects(BUCKET).items() if key != LEASE}
        runs = {key.split("/")[3] for key in objects if key.startswith("2026/.metaferry/backup/")}
        (third,) = runs - set(ids)
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(RUNS), json.dumps([ids[1], third]))
            for key, data in sorted(objects.items()):
                archive.writestr(zipfile.ZipInfo(key), data, zipfile.ZIP_DEFLATED)
        print(out, f"{out.stat().st_size:,} bytes", *objects, sep="\n  ")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
