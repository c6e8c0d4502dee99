"""Objects with user metadata and tags, put by the vendors' own clients (of GCS: by the server's control)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from servers.steering import Steered


def put_described(
    url: str,
    options: Mapping[str, Any],
    key: str,
    *,
    metadata: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    content_type: str = "image/jpeg",
    server: Steered | None = None,
) -> None:
    """Puts `key` below the datasource `url`; `server` is needed for GCS."""
    parts = urlsplit(url)
    bucket, key = parts.netloc, parts.path.lstrip("/") + ("/" if parts.path.strip("/") else "") + key
    key = key.replace("//", "/")
    if parts.scheme == "s3":
        _s3(options, bucket, key, metadata or {}, tags or {}, content_type)
    elif parts.scheme in ("gs", "gcs"):
        assert server is not None
        server.put(bucket, key, b"media")
        server.describe(bucket, key, {"contentType": content_type, "metadata": dict(metadata or {})})
    else:
        asyncio.run(_azure(options, bucket, key, metadata or {}, tags or {}, content_type))


def _s3(
    options: Mapping[str, Any],
    bucket: str,
    key: str,
    metadata: Mapping[str, str],
    tags: Mapping[str, str],
    content_type: str,
) -> None:
    import botocore.session

    session = botocore.session.Session()
    client = session.create_client(
        "s3",
        endpoint_url=options["endpoint_url"],
        aws_access_key_id=options["key"],
        aws_secret_access_key=options["secret"],
        region_name="us-east-1",
    )
    try:
        more = {"Tagging": urlencode(tags)} if tags else {}
        client.put_object(
            Bucket=bucket, Key=key, Body=b"media", Metadata=dict(metadata), ContentType=content_type, **more
        )
    finally:
        client.close()


async def _azure(
    options: Mapping[str, Any],
    container: str,
    key: str,
    metadata: Mapping[str, str],
    tags: Mapping[str, str],
    content_type: str,
) -> None:
    from azure.storage.blob import ContentSettings
    from azure.storage.blob.aio import BlobServiceClient

    async with BlobServiceClient.from_connection_string(options["connection_string"]) as client:
        blob = client.get_blob_client(container, key)
        more = {"tags": dict(tags)} if tags else {}
        settings = ContentSettings(content_type=content_type)
        await blob.upload_blob(b"media", metadata=dict(metadata), content_settings=settings, **more)
