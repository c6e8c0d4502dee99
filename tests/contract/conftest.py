"""The `subject` of each contract test: every store in every way it is spoken to, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.subjects import LANES, LOCAL, Subject
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource


@pytest.fixture(
    params=[
        pytest.param(
            (kind, lane),
            marks=() if kind in LOCAL else pytest.mark.servers,
            id=kind if lane == "fsspec" else f"{kind}-{lane}",
        )
        for kind, lane in LANES
    ]
)
def subject(
    request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, portal: Portal
) -> Iterator[Subject]:
    kind, lane = request.param
    url, options = fresh_datasource({"generic-file": "local", "generic-memory": "memory"}.get(kind, kind))
    subject = Subject(kind, url, options, portal, lane)
    yield subject
    subject.close()
