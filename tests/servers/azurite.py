"""Azurite, the vendor's own emulator of Azure Blob Storage; see setup_azurite.py."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.process import answers, free_port, server
from servers.setup_azurite import MAIN, is_installed, node_root

#: The emulator's account; its key is public knowledge and the same everywhere.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True, slots=True)
class AzureServer:
    endpoint: str

    @property
    def options(self) -> dict[str, Any]:
        return options_for(self.endpoint)

    def new_container(self) -> str:
        """Makes an empty container and returns its name."""
        name = f"metaferry-{uuid.uuid4().hex[:12]}"
        self.make_container(name)
        return name

    def make_container(self, name: str) -> None:
        asyncio.run(_make(self.endpoint, name))


def options_for(endpoint: str, key: str = KEY) -> dict[str, Any]:
    parts = ("DefaultEndpointsProtocol=http", f"AccountName={ACCOUNT}", f"AccountKey={key}")
    return {"connection_string": ";".join((*parts, f"BlobEndpoint={endpoint}/{ACCOUNT};"))}


@contextlib.contextmanager
def azurite() -> Iterator[AzureServer]:
    if not is_installed():
        raise FileNotFoundError("Azurite is not installed: run python tests/servers/setup_azurite.py")
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    folder = Path(tempfile.mkdtemp(prefix="azurite-"))
    command = [str(node_root() / "bin" / "node"), str(MAIN), "--blobHost", "127.0.0.1"]
    command += ["--blobPort", str(port), "--inMemoryPersistence", "--silent", "--skipApiVersionCheck"]
    command += ["--disableTelemetry"]
    try:
        with server(command, cwd=folder, ready=lambda: answers(endpoint)):
            yield AzureServer(endpoint)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _make(endpoint: str, name: str) -> None:
    from azure.storage.blob.aio import BlobServiceClient

    connection = options_for(endpoint)["connection_string"]
    async with BlobServiceClient.from_connection_string(connection) as client:
        await client.create_container(name)
