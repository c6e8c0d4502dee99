"""What the pods of deploy/kustomize are told to do, done here: their very arguments, pod after pod."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.oracle import job_mapping
from e2e.world import Ran, World
from metaferry.demo import make_dataset

KUSTOMIZE = Path(__file__).parents[2] / "deploy/kustomize"


class Cluster:
    """Runs pods over one copy of the demonstration, on a local folder."""

    def __init__(self, root: Path) -> None:
        self.world = World(root)
        dataset = make_dataset(root / "demo")
        shutil.move(dataset.media, self.world.data)
        self.world.job = {
            **job_mapping(dataset, str(self.world.data), {}),
            "media": {"include": ["images/**", "videos/rear/**"]},
            "policy": {"max_rejects": "100%"},
        }
        self.world.write_job()

    def run(self, name: str, **environment: str) -> Ran:
        """The container of one manifest."""
        spec = yaml.safe_load((KUSTOMIZE / f"{name}.yaml").read_text())["spec"]
        job = spec.get("jobTemplate", {}).get("spec", spec)
        (container,) = job["template"]["spec"]["containers"]
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert "/etc/metaferry" in mounted
        known = {"$(PLAN_URL)": str(self.world.data / ".metaferry/plans/backfill")}
        words = [
            known.get(word, word.replace("/etc/metaferry", str(self.world.root)))
            for word in container["args"]
        ]
        return self.world.run(*words, environment=environment)

    def documents(self) -> dict[str, bytes]:
        return {key: data for key, (data, _) in self.world.tree().items()}


@pytest.fixture
def clusters(tmp_path: Path) -> tuple[Cluster, Cluster]:
    return Cluster(tmp_path / "one"), Cluster(tmp_path / "other")


def completions() -> int:
    spec: dict[str, Any] = yaml.safe_load((KUSTOMIZE / "backfill/shards.yaml").read_text())["spec"]
    return int(spec["completions"])


@pytest.mark.slow
def test_a_backfill_leaves_what_the_schedule_would(clusters: tuple[Cluster, Cluster]) -> None:
    scheduled, backfilled = clusters
    assert scheduled.run("base/cronjob").code == 0

    planned = backfilled.run("backfill/plan")
    assert planned.code == 0, planned.err
    assert backfilled.documents() == {}
    missing = backfilled.run("backfill/finish")
    assert missing.code == 1
    assert "not done" in missing.err
    written = 0
    for index in range(completions()):
        done = backfilled.run("backfill/shards", JOB_COMPLETION_INDEX=str(index))
        assert done.code == 0, done.err
        written += done.report["documents"]["create"]
    assert backfilled.run("backfill/shards", JOB_COMPLETION_INDEX="0").code == 0, "a pod that was replaced"
    finished = backfilled.run("backfill/finish")
    assert finished.code == 0, finished.err
    assert finished.report["documents"]["create"] == written == len(scheduled.documents()) - 1
    assert backfilled.documents() == scheduled.documents()

    after = backfilled.run("base/cronjob")
    assert (after.code, after.report["documents"]["create"], after.report["documents"]["update"]) == (0, 0, 0)
