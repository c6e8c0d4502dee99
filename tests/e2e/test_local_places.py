"""What stands in the way of a document in a local datasource: links, folders, a suspended process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.world import ENVIRONMENT, World
from metaferry.demo import make_dataset

pytestmark = pytest.mark.slow

NAMES = tuple(f"{n:02}.png" for n in range(30))


@pytest.fixture
def world(tmp_path: Path) -> World:
    dataset = make_dataset(tmp_path / "demo")
    picture = (dataset.media / dataset.images[0]).read_bytes()
    world = World(tmp_path / "here")
    for name in NAMES:
        world.put(f"data/images/{name}", picture)
    labels(world, "one")
    world.job = {"input": "data", "sources": [{"table": "labels.csv"}], "retry_for": 3}
    world.write_job()
    return world


def labels(world: World, value: str) -> None:
    world.put("labels.csv", "file_name,scene\n" + "".join(f"images/{name},{value}\n" for name in NAMES))


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("link", [".lightly", ".lightly/metadata", ".lightly/metadata/images"])
@pytest.mark.parametrize("command", ["plan", "sync"])
def test_a_link_that_leads_out_stops_the_run_before_its_first_write(
    world: World, tmp_path: Path, link: str, command: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    at = world.data / link
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(outside)
    ran = world.run(command, "job.yaml")
    assert ran.code == 2, ran.err
    assert f'"{link}" is a symbolic link to {outside}' in ran.err
    assert f"storage: {{file: {{linked_folders: [{outside}]}}}}" in ran.err
    assert files_below(outside) == []
    if command == "sync":
        # What the message advises is enough.
        world.job["storage"] = {"file": {"linked_folders": [str(outside)]}}
        world.write_job()
        assert world.run("sync", "job.yaml").code == 0
        assert len([name for name in files_below(outside) if name.endswith(".json")]) >= len(NAMES)


def test_a_state_folder_that_leads_out_is_refused(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (world.data / ".metaferry").symlink_to(outside)
    ran = world.run("sync", "job.yaml")
    assert ran.code == 1, ran.err
    assert f'".metaferry" is a symbolic link to {outside}' in ran.err
    assert files_below(outside) == []
    assert not (world.data / ".lightly").exists()


def test_what_is_no_list_of_folders_is_refused(world: World) -> None:
    world.job["storage"] = {"file": {"linked_folders": ["relative"]}}
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "linked_folders should be a list of absolute paths" in ran.err


def test_a_folder_in_a_documents_place_is_told_as_what_it_is(world: World) -> None:
    (world.data / ".lightly/metadata/images/03.json").mkdir(parents=True)
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 3, ran.err
    documents = ran.report["documents"]
    assert (documents["create"], documents["failed"], documents["conflict"]) == (len(NAMES) - 1, 1, 0)
    assert "a folder is in the place of the file" in ran.out
    assert "images/03.json" in ran.out


SUSPENDED = """
import os, sys
from metaferry.storage.local.locks import in_place

target = os.fsencode(sys.argv[1])
folder = os.open(os.path.dirname(target), os.O_RDONLY)
with in_place(target, folder):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def suspended(world: World) -> Iterator[subprocess.Popen[str]]:
    """A run that was suspended in the middle of replacing one document of a datasource that is in step."""
    assert world.run("sync", "job.yaml").code == 0
    target = world.data / ".lightly/metadata/images/07.json"
    process = subprocess.Popen(
        [sys.executable, "-c", SUSPENDED, str(target)],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield process
        finally:
            process.kill()


def test_the_successor_of_a_suspended_run_writes_all_but_what_it_holds(
    world: World, suspended: subprocess.Popen[str]
) -> None:
    """And names the process that has the rest; when that is gone, a run ends it."""
    labels(world, "two")
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 3, ran.err
    assert ran.report["documents"]["update"] == len(NAMES) - 1
    assert ran.report["documents"]["failed"] == 1
    assert f"locked by process {suspended.pid} (" in ran.out
    assert "suspended" in ran.out
    suspended.kill()
    suspended.wait()
    again = world.run("sync", "job.yaml", "--format", "json")
    assert (again.code, again.report["documents"]["update"]) == (0, 1), again.err
