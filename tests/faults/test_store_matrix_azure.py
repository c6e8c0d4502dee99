"""The matrix of faults (`faults/matrix.py`) on Azure, with an account key and with an access token."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from faults.matrix import ENDS, Furnished, cells, check_cell, check_no_secret
from faults.rows import Row

pytestmark = [pytest.mark.servers, pytest.mark.slow]

KINDS = ("azure", "azure-identity")


@pytest.mark.parametrize(("kind", "row", "delete"), cells(*KINDS))
def test_a_store_that_fails(
    furnished: dict[str, Furnished],
    kind: str,
    row: Row,
    delete: str,
    record_property: Callable[[str, object], None],
) -> None:
    check_cell(furnished[kind], kind, row, delete, record_property)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", list(ENDS))
def test_no_secret_is_said_however_it_ends(furnished: dict[str, Furnished], kind: str, end: str) -> None:
    check_no_secret(furnished[kind].cloud, ENDS[end])
