"""The jobs of a page below docs/sources, as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from e2e.world import World

PAGES = Path(__file__).parents[3] / "docs/sources"


def jobs_of(page: str) -> list[dict[str, Any]]:
    """The blocks of YAML of a page that are whole jobs, in its order."""
    text = (PAGES / page).read_text(encoding="utf-8")
    found = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    return [job for job in found if "input" in job]


def documents(world: World) -> dict[str, Any]:
    """The metadata of each document in place, by its path below the folder of documents."""
    folder = world.data / ".lightly/metadata"
    return {
        path.relative_to(folder).as_posix().removesuffix(".json"): json.loads(path.read_bytes())["metadata"]
        for path in sorted(folder.rglob("*.json"))
        if path.name != "schema.json"
    }


def synced(world: World, job: dict[str, Any], *arguments: str) -> dict[str, Any]:
    """Runs `metaferry sync` on a job, twice: the second run writes nothing. The documents in place."""
    world.job = job
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json", *arguments)
    assert ran.code == 0, ran.err + ran.out
    made = documents(world)
    again = world.run("sync", "job.yaml", "--format", "json", *arguments)
    assert again.code == 0, again.err
    counts = again.report["documents"]
    assert (counts["keep"], counts["create"], counts["update"]) == (len(made), 0, 0)
    return made
