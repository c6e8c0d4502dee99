"""SeaweedFS: a real object store that verifies signatures and checksums.

It lists folder by folder, not in byte order, and reports a failed condition without naming it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from servers.ministack import S3Server
from servers.process import answers, free_port, server


@contextlib.contextmanager
def seaweedfs() -> Iterator[S3Server]:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    binary = Path(sys.executable).with_name("weed")
    if not binary.exists():
        raise FileNotFoundError(f"{binary}: install the development requirements")
    folder = Path(tempfile.mkdtemp(prefix="seaweedfs-"))
    key, secret = "seaweed", "seaweed-secret"
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    data = folder / "data"
    data.mkdir()
    command = [str(binary), "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    # Each bucket takes some volumes of its own; by default there are as many as fit the free disk at
    # their full size, and a long session of small buckets runs out of them.
    command += ["-volume.max=100000"]
    command += ["-master.telemetry=false", "-webdav=false", "-admin.ui=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={config}", f"-s3.port={port}"]
    # Every port is ours to choose: the defaults collide between parallel test workers.
    for name in ("master", "volume", "filer", "admin"):
        command += [f"-{name}.port={free_port()}", f"-{name}.port.grpc={free_port()}"]
    command.append(f"-s3.port.grpc={free_port()}")
    try:
        with server(command, cwd=folder, ready=lambda: answers(endpoint), deadline=90):
            yield S3Server(endpoint, key, secret)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
