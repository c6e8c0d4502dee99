"""A furnished site on each kind of disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.site import Disk, LocalDisk, MemoryDisk


@pytest.fixture(params=["memory", "local"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return MemoryDisk() if request.param == "memory" else LocalDisk(tmp_path)
