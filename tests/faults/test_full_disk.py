"""A disk of the scratch folder that has no room: one clear error, and nothing half done.

On real disks that are small, where this process may mount one; and under a limit of the size of files,
which every machine has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from e2e.world import ENVIRONMENT
from metaferry.errors import MetaferryError, ScratchFull
from metaferry.job.model import Job
from metaferry.runs.run import plan, sync

ROWS = 40_000


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that do not compress, so that each step needs its share of the disk."""
    path = tmp_path_factory.mktemp("tables") / "t.parquet"
    names = [f"{n:06d}.png" for n in range(ROWS)]
    values = [os.urandom(120).hex() for _ in range(ROWS)]
    pq.write_table(pa.table({"file_name": names, "x": values}), path)
    return path


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk of so many megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={request.param}m"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this process may not mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def make_job(root: Path, table: Path, scratch: Path) -> Job:
    media, lightly = root / "media", root / "lightly"
    if not media.exists():
        media.mkdir()
        lightly.mkdir()
        for n in range(0, ROWS, 2_000):
            (media / f"{n:06d}.png").write_bytes(b"")
    return Job.from_mapping(
        {
            "input": str(media),
            "lightly": str(lightly),
            "sources": [{"table": str(table)}],
            "scratch": str(scratch),
            "memory_limit": "48MB",
        }
    )


@pytest.mark.parametrize("small_disk", [1, 4, 6], indirect=True)
def test_a_small_disk_is_one_clear_error(small_disk: Path, table: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, table, small_disk)
    with pytest.raises(ScratchFull) as raised:
        sync(job)
    assert raised.value.message == f"the disk of the scratch folder {small_disk} is full"
    assert "scratch: /path" in raised.value.advice
    assert list(small_disk.iterdir()) == []  # what was there is gone: others can go on
    written = [path for path in (tmp_path / "lightly").rglob("*") if path.is_file()]
    assert written == []  # no document, no report, and the lease was given back
    enough = job.model_copy(update={"scratch": str(tmp_path)})
    assert sync(enough).documents.create == ROWS // 2_000


LIMITED = """
    import resource, signal, sys
    from metaferry.errors import ScratchFull
    from metaferry.job.model import Job
    from metaferry.runs.run import plan
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        plan(Job.load(sys.argv[1]))
    except ScratchFull as error:
        print(error.message)
"""


@pytest.mark.parametrize("limit", [100_000, 4_000_000])
def test_a_limit_of_the_size_of_files_too(limit: int, table: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, table, tmp_path)
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(job.model_dump(mode="json", by_alias=True, exclude_unset=True)))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(path), str(limit)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert (done.stdout, done.returncode) == (
        f"the disk of the scratch folder {tmp_path} is full\n",
        0,
    ), done.stderr
    assert list(tmp_path.glob("metaferry-*")) == []


def test_too_little_memory_is_no_full_disk(table: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, table, tmp_path).model_copy(update={"memory_limit": "4MB"})

    with pytest.raises(MetaferryError, match="more memory than memory_limit allows") as raised:
        plan(job)
    assert not isinstance(raised.value, ScratchFull)
    assert list(tmp_path.glob("metaferry-*")) == []
