"""A Google Cloud Storage server of our own, in memory: no emulator on the package index knows preconditions.

    python -m servers.gcs [--port 0] [--port-file FILE]

runs it and prints its port. Tests use `gcs()`, which starts that as a process of its own and gives a
:class:`GcsServer`. What it speaks is in `gcs_api.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from servers.s3_rules import Behaviour
from servers.steering import Steered, run, started


@dataclass(frozen=True, slots=True)
class GcsServer(Steered):
    @property
    def options(self) -> dict[str, Any]:
        return {"token": "anon", "project": "tests", "endpoint_url": self.endpoint}

    def options_of_an_account(self) -> dict[str, Any]:
        """Those of a service account, whose access tokens come from this server's `/token`."""
        account = {
            "type": "service_account",
            "client_email": "tests@tests.iam.gserviceaccount.com",
            "private_key_id": "1",
            "private_key": private_key(),
            "token_uri": f"{self.endpoint}/token",
        }
        return {**self.options, "token": account}


@cache
def private_key() -> str:
    """A key of a service account, in PEM: nobody may ever show a line of it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@contextlib.contextmanager
def gcs() -> Iterator[GcsServer]:
    """The server as a process of its own, until the block ends."""
    with started(GcsServer, "servers.gcs") as running:
        yield running


def _config(behaviour: Behaviour, clock: Any) -> Any:
    from servers.gcs_api import GcsApi

    return GcsApi(behaviour, clock.modified)


if __name__ == "__main__":
    run(str(__doc__), _config)
