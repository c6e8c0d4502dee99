"""`rclone serve s3`, a store that takes conditions and ignores them, and repeats checksums on ranges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import Conflict
from metaferry.storage.factory import Transport, open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ABSENT, Direct
from servers.ministack import make_bucket, options_for
from servers.process import answers, free_port, server

pytestmark = pytest.mark.servers

RCLONE = Path(__file__).parents[2] / ".cache" / "peers" / "bin" / "rclone"


@pytest.fixture(scope="module")
def rclone() -> Iterator[dict[str, Any]]:
    if not RCLONE.exists():
        pytest.skip("rclone is not installed: make .cache/peers/ready")
    port, key, secret = free_port(), "metaferry", "metaferry-secret"
    endpoint = f"http://127.0.0.1:{port}"
    command = [str(RCLONE), "--config", "", "serve", "s3", "--addr", f"127.0.0.1:{port}"]
    with server([*command, "--auth-key", f"{key},{secret}", ":memory:"], ready=lambda: answers(endpoint)):
        make_bucket(endpoint, key, secret, "fleet")
        options = options_for(endpoint, key, secret)
        options["config_kwargs"] = {
            **options["config_kwargs"],
            "response_checksum_validation": "when_required",
        }
        yield options


@pytest.mark.parametrize("transport", ["fsspec", "auto"])
def test_a_store_that_ignores_conditions_is_written_with_checks_before(
    rclone: dict[str, Any], portal: Portal, transport: Transport
) -> None:
    storage = open_storage(f"s3://fleet/{transport}", rclone, transport=transport, retry_for=10.0)
    try:
        assert portal.run(storage.probe_conditions(".metaferry/probe")) is False
        put_result = portal.run(storage.put("d/é a.json", b"{}", only_if=ABSENT))
        with pytest.raises(Conflict):
            portal.run(storage.put("d/é a.json", b"[]", only_if=ABSENT))
        assert portal.run(storage.read("d/é a.json", 1, 2, version=put_result.token)).data == b"}"
        if isinstance(storage.adapter, Direct):
            storage.adapter.put_blocking("d/now.json", b"1")
        listed = {entry.path: entry.md5 for page in portal.iterate(storage.list()) for entry in page}
        assert listed["d/é a.json"] == put_result.md5
        assert ("d/now.json" in listed) is (transport == "auto")
    finally:
        portal.run(storage.close())
