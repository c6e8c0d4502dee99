"""A Google Cloud Storage server of our own, in memory: no emulator on the package index knows preconditions.

    python -m servers.gcs [--port 0] [--port-file FILE]

runs it and prints its port. Tests use `gcs()`, which starts that as a process of its own and gives a
:class:`GcsServer`. What it speaks is in `gcs_api.py`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.s3_rules import Behaviour
from servers.steering import Steered, run, started


@dataclass(frozen=True, slots=True)
class GcsServer(Steered):
    @property
    def options(self) -> dict[str, Any]:
        return {"token": "anon", "project": "tests", "endpoint_url": self.endpoint}

    def options_with_a_refresh_token(self, secret: str = "refresh-secret") -> dict[str, Any]:
        """Those of a user whose access tokens come from this server's `/token`."""
        user = {
            "type": "authorized_user",
            "client_id": "tests.apps.example.invalid",
            "client_secret": secret,
            "refresh_token": secret,
            "token_uri": f"{self.endpoint}/token",
            "universe_domain": "googleapis.com",
        }
        return {**self.options, "token": user}


@contextlib.contextmanager
def gcs() -> Iterator[GcsServer]:
    """The server as a process of its own, until the block ends."""
    with started(GcsServer, "servers.gcs") as running:
        yield running


def write_credentials(path: Path, options: dict[str, Any]) -> dict[str, Any]:
    """The same options with their user in a file, as `gcloud auth application-default login` leaves it."""
    path.write_text(json.dumps(options["token"]))
    return {**options, "token": str(path)}


def _dialect(behaviour: Behaviour, clock: Any) -> Any:
    from servers.gcs_api import GcsApi

    return GcsApi(behaviour, clock.modified)


if __name__ == "__main__":
    run(str(__doc__), _dialect)
