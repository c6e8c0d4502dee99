"""Azurite as a process that ends on SIGTERM: `python run_azure.py PORT`. Everything is kept in memory."""

from __future__ import annotations

import os
import sys

from servers.setup_azurite import MAIN, node_root


def main(port: str) -> None:
    node = str(node_root() / "bin" / "node")
    where = ["--blobHost", "0.0.0.0", "--blobPort", port, "--inMemoryPersistence"]
    os.chdir("/tmp")  # where it may leave its log
    os.execv(node, [node, str(MAIN), *where, "--silent", "--skipApiVersionCheck", "--disableTelemetry"])


if __name__ == "__main__":
    main(sys.argv[1])
