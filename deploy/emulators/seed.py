"""Puts the demonstration's media and tables into the bucket `demo` of each emulator, and ends.

Endpoints come from S3_ENDPOINT, GCS_ENDPOINT and AZURE_CONNECTION; those not set are left out. The
GCS server makes its bucket itself. Running it again is harmless.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metaferry.demo import make_dataset
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal

BUCKET = "demo"


def stores() -> Iterator[tuple[str, dict[str, Any]]]:
    """URL and options of each emulator that is named; its bucket is there."""
    if endpoint := os.environ.get("S3_ENDPOINT"):
        options = {"key": "metaferry", "secret": "metaferry-secret", "endpoint_url": endpoint}
        make_s3_bucket(options)
        yield f"s3://{BUCKET}", options
    if endpoint := os.environ.get("GCS_ENDPOINT"):
        yield f"gs://{BUCKET}", {"token": "anon", "project": "demo", "endpoint_url": endpoint}
    if connection := os.environ.get("AZURE_CONNECTION"):
        make_container(connection)
        yield f"az://{BUCKET}", {"connection_string": connection}


def make_s3_bucket(options: dict[str, Any]) -> None:
    from servers.ministack import make_bucket

    make_bucket(options["endpoint_url"], options["key"], options["secret"], BUCKET)


def make_container(connection: str) -> None:
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient.from_connection_string(connection) as client:
        try:
            client.create_container(BUCKET)
        except ResourceExistsError:
            print(f"seed: {BUCKET} is there already", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Portal() as portal:
        dataset = make_dataset(Path(folder))
        files = sorted(path for path in dataset.root.rglob("*") if path.is_file())
        for url, options in stores():
            storage = open_storage(url, options)
            for path in files:
                portal.run(storage.put(path.relative_to(dataset.root).as_posix(), path.read_bytes()))
            portal.run(storage.close())
            print(f"seed: {len(files)} files in {url}", flush=True)


if __name__ == "__main__":
    main()
