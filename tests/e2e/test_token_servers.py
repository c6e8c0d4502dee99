"""Token servers that fail: retried and named as such; who asks wrongly is told so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.images import COUNT, Images
from metaferry.errors import Denied, Expired, StorageError, Unavailable
from servers.datasource import FreshDatasource
from servers.gcs import GcsServer
from servers.s3_rules import Fault

pytestmark = pytest.mark.servers


@pytest.fixture
def world(fresh_datasource: FreshDatasource, gcs_server: GcsServer, tmp_path: Path) -> Iterator[Images]:
    url, _ = fresh_datasource("gcs")
    options = gcs_server.options_of_an_account()
    yield Images("gcs", url, options, gcs_server, tmp_path)
    gcs_server.reset()


HTML = {"status": 200, "body": b"<html>log in</html>"}
BUSY = {"status": 503, "body": b"{}"}


@pytest.mark.parametrize("answer", [BUSY, HTML], ids=["503", "page"])
def test_a_passing_fault_of_the_token_server_is_lived_through(world: Images, answer: dict[str, Any]) -> None:
    rule = world.server.add(Fault("status", "POST", r"^/token", times=4, **answer))
    report = world.sync(retry_for=60)
    assert (report.exit_code, report.documents.create) == (0, COUNT)
    assert world.server.used(rule) == 4


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (503, b"{}", Unavailable, "the token server"),
        (401, b'{"error": "invalid_client"}', Denied, "does not know this client"),
        (401, b'{"error": "unauthorized_client"}', Denied, "may not have an access token"),
        (400, b'{"error": "invalid_grant"}', Expired, "no longer takes"),
    ],
)
def test_what_does_not_pass_is_named(
    world: Images, status: int, body: bytes, kind: type[StorageError], words: str
) -> None:
    world.server.add(Fault("status", "POST", r"^/token", times=10**6, status=status, body=body))
    with pytest.raises(kind, match=words) as caught:
        world.sync(retry_for=2)
    assert caught.value.advice
    assert "PRIVATE KEY" not in f"{caught.value} {caught.value.advice}"
