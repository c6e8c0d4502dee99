"""An S3 server in memory that knows conditional writes and lists in byte order.

Any signature is accepted, so tests of wrong credentials run on SeaweedFS.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from servers.process import answers, free_port, server


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where a server listens and how it wants to be asked (s3fs options)."""

    endpoint: str
    key: str = "metaferry"
    secret: str = "metaferry-secret"

    @property
    def options(self) -> dict[str, Any]:
        return options_for(self.endpoint, self.key, self.secret)

    def new_bucket(self) -> str:
        """Makes an empty bucket and returns its name."""
        name = f"metaferry-{uuid.uuid4().hex[:12]}"
        make_bucket(self.endpoint, self.key, self.secret, name)
        return name


def options_for(endpoint: str, key: str, secret: str) -> dict[str, Any]:
    return {
        "key": key,
        "secret": secret,
        "endpoint_url": endpoint,
        "client_kwargs": {"region_name": "us-east-1"},
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }


def make_bucket(endpoint: str, key: str, secret: str, name: str) -> None:
    client = _client(endpoint, key, secret)
    try:
        client.create_bucket(Bucket=name)
    finally:
        client.close()  # its connections; the next call makes others


@functools.cache
def _client(endpoint: str, key: str, secret: str) -> Any:
    """It costs half a second to make one."""
    import botocore.config
    import botocore.session

    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=botocore.config.Config(s3={"addressing_style": "path"}, proxies={}),
    )


@contextlib.contextmanager
def ministack(*, auth: bool = False) -> Iterator[S3Server]:
    """With `auth` signatures and IAM policies are enforced; the server's own key may do everything."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    environment = {"SERVICES": "s3", "LOG_LEVEL": "WARNING", "MINISTACK_TELEMETRY": "0"}
    found = S3Server(endpoint)
    if auth:
        environment |= {"SERVICES": "s3,iam,sts", "AUTH": "true"}
        environment |= {"AWS_ACCESS_KEY_ID": found.key, "AWS_SECRET_ACCESS_KEY": found.secret}
    with server([*command, "ministack.app:app"], ready=lambda: answers(endpoint), env=environment):
        yield found
