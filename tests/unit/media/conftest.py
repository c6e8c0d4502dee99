"""Fixture of the media tests: real storages on local folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.retry.storage import Retrying


@pytest.fixture
def folder(tmp_path: Path, portal: Portal) -> Iterator[Retrying]:
    """The local folder `tmp_path` as a storage."""
    storage = open_storage(str(tmp_path))
    yield storage
    portal.run(storage.close())
