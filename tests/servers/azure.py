"""An Azure Blob Storage server of our own, in memory: fast enough not to be the limit, and spoiled at a word.

    python -m servers.azure [--port 0] [--port-file FILE] [--tls CERTIFICATE]

runs it and prints its port. Tests use `fast_azure()`, which starts that as a process of its own and
gives a :class:`FastAzure`. What it speaks is in `azure_api.py`; Azurite (`azurite.py`) is the vendor's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.azurite import ACCOUNT, options_for
from servers.s3_rules import Behaviour
from servers.steering import Steered, run, started


@dataclass(frozen=True, slots=True)
class FastAzure(Steered):
    @property
    def options(self) -> dict[str, Any]:
        return options_for(self.endpoint)

    @property
    def managed_identity(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Options and environment of a machine whose access tokens come from this server's `/msi/token`.

        Access tokens are only sent over TLS.
        """
        host = f"{self.endpoint.removeprefix('https://')}/{ACCOUNT}"
        options = {"account_name": ACCOUNT, "account_host": host, "anon": False}
        environment = {"IDENTITY_ENDPOINT": f"{self.endpoint}/msi/token", "IDENTITY_HEADER": "tests"}
        if self.put_credential is not None:
            trusted = str(self.put_credential)
            environment |= {"SSL_CERT_FILE": trusted, "REQUESTS_CA_BUNDLE": trusted}
        return options, environment


@contextlib.contextmanager
def fast_azure(*, tls: Path | None = None) -> Iterator[FastAzure]:
    """The server as a process of its own, until the block ends; `tls` as `started` has it."""
    with started(FastAzure, "servers.azure", tls=tls) as running:
        yield running


def _config(behaviour: Behaviour, clock: Any) -> Any:
    from servers.azure_api import AzureApi

    return AzureApi(behaviour, clock.modified)


if __name__ == "__main__":
    run(str(__doc__), _config)
