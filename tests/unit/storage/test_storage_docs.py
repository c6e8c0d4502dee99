"""docs/storage.md names every right, every scheme and every error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metaferry import errors
from metaferry.storage.errors import RIGHTS
from metaferry.urls import SCHEMES

TEXT = (Path(__file__).parents[3] / "docs" / "storage.md").read_text(encoding="utf-8")


def test_every_scheme_is_named() -> None:
    named = set(re.findall(r"`([a-z0-9]+)://", TEXT))
    assert named >= set(SCHEMES) - {"", "local"}


@pytest.mark.parametrize("right", sorted({right for (store, _), right in RIGHTS.items() if store != "local"}))
def test_every_right_is_named(right: str) -> None:
    for action in re.findall(r"s3:\w+|storage\.objects\.\w+|containers/blobs/\w+", right):
        assert action in TEXT


def test_every_error_is_explained() -> None:
    closed = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.StorageError)
    } - {"StorageError"}
    assert set(re.findall(r"^\| `([A-Z]\w+)` \|", TEXT, re.MULTILINE)) == closed
