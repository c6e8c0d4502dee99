"""The `subject` of each contract test: every store, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import FreshDatasource
from contract.subjects import KINDS, LOCAL, Subject
from metaferry.storage.portal import Portal


@pytest.fixture(
    params=[pytest.param(kind, marks=() if kind in LOCAL else pytest.mark.servers) for kind in KINDS]
)
def subject(
    request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, portal: Portal
) -> Iterator[Subject]:
    kind: str = request.param
    url, options = fresh_datasource({"generic-file": "local", "generic-memory": "memory"}.get(kind, kind))
    subject = Subject(kind, url, options, portal)
    yield subject
    subject.close()
