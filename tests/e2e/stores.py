"""A datasource on a real server behind the counting proxy, and a second way to look at it.

What a test compares is read with the vendor's own client (or, for GCS, out of the server itself),
never through the storage that is under test.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from metaferry.urls import split_scheme
from servers.gcs import GcsServer
from servers.proxy import Proxy, Request, Rule

KINDS: Final = ("s3", "seaweedfs", "gcs", "azure")

#: Methods that change an object: an upload to GCS is a POST.
WRITES: Final = frozenset({"PUT", "POST", "DELETE"})

#: Where documents are, in a path as the proxy sees it.
DOCUMENT: Final = r"^[^?]*\.lightly/metadata/"

#: A refusal and a wish for less, as each store words them.
DENIED: Final[dict[str, dict[str, Any]]] = {
    "s3": {"status": 403, "body": b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"},
    "gcs": {
        "status": 403,
        "body": b'{"error": {"code": 403, "message": "no", "errors": [{"reason": "forbidden"}]}}',
        "headers": {"Content-Type": "application/json"},
    },
    "azure": {"status": 403, "headers": {"x-ms-error-code": "AuthorizationPermissionMismatch"}},
}
BUSY: Final[dict[str, dict[str, Any]]] = {
    "s3": {"status": 503, "body": b"<Error><Code>SlowDown</Code><Message>less</Message></Error>"},
    "gcs": {"status": 503, "body": b"busy"},
    "azure": {"status": 503, "headers": {"x-ms-error-code": "ServerBusy"}},
}


@dataclass
class Store:
    """One fresh datasource. `options` lead through the proxy, `direct` past it."""

    kind: str
    url: str
    direct: dict[str, Any]
    proxy: Proxy
    portal: Portal
    server: Any
    options: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        text = json.dumps(self.direct).replace(self.server.endpoint, self.proxy.endpoint)
        self.options = json.loads(text)
        self.proxy.clear()
        self._storage: Storage = open_storage(self.url, self.direct)

    @property
    def vendor(self) -> str:
        return "s3" if self.kind == "seaweedfs" else self.kind

    @property
    def bucket(self) -> str:
        return split_scheme(self.url)[1].partition("/")[0]

    @property
    def prefix(self) -> str:
        return split_scheme(self.url)[1].partition("/")[2]

    def beside(self, url: str) -> Store:
        """Another datasource on the same server, through the same proxy."""
        return Store(self.kind, url, self.direct, self.proxy, self.portal, self.server)

    # -- somebody else

    def put(self, key: str, data: bytes) -> None:
        """Writes past the proxy, as somebody else would."""
        self.portal.run(self._storage.put(key, data))

    def put_all(self, objects: dict[str, bytes]) -> None:
        async def put() -> None:
            await asyncio.gather(*(self._storage.put(key, data) for key, data in objects.items()))

        self.portal.run(put())

    def delete(self, key: str) -> None:
        self.portal.run(self._storage.delete(key))

    def close(self) -> None:
        self.portal.run(self._storage.close())

    # -- what is there

    def documents(self) -> dict[str, bytes]:
        """Every object below `.lightly/`, by its key in the datasource, read natively."""
        below = f"{self.prefix}.lightly/"
        read = {"s3": self._read_s3, "gcs": self._read_gcs, "azure": self._read_azure}[self.vendor]
        return {key.removeprefix(self.prefix): data for key, data in read(below).items()}

    def _read_s3(self, below: str) -> dict[str, bytes]:
        import botocore.config
        import botocore.session

        client = botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.direct["endpoint_url"],
            region_name="us-east-1",
            aws_access_key_id=self.direct["key"],
            aws_secret_access_key=self.direct["secret"],
            config=botocore.config.Config(
                s3={"addressing_style": "path"}, proxies={}, max_pool_connections=16
            ),
        )
        try:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=below)
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]

            def get(key: str) -> bytes:
                with client.get_object(Bucket=self.bucket, Key=key)["Body"] as body:
                    return bytes(body.read())

            with ThreadPoolExecutor(8) as pool:
                return dict(zip(keys, pool.map(get, keys), strict=True))
        finally:
            client.close()

    def _read_gcs(self, below: str) -> dict[str, bytes]:
        assert isinstance(self.server, GcsServer)
        return self.server.objects(self.bucket, below)

    def _read_azure(self, below: str) -> dict[str, bytes]:
        from azure.storage.blob.aio import BlobServiceClient

        async def read() -> dict[str, bytes]:
            connection = self.direct["connection_string"]
            async with BlobServiceClient.from_connection_string(connection) as service:
                container = service.get_container_client(self.bucket)
                names = [blob.name async for blob in container.list_blobs(name_starts_with=below)]

                async def get(name: str) -> bytes:
                    stream = await container.download_blob(name)
                    return bytes(await stream.readall())

                return dict(zip(names, await asyncio.gather(*map(get, names)), strict=True))

        return asyncio.run(read())

    # -- what was asked of the server

    def writes(self) -> list[Request]:
        """Requests that change documents, in the order they were done."""
        return [each for each in self.proxy.requests if each.method in WRITES and _in_documents(each)]

    def reads(self) -> list[Request]:
        """Requests for the content of documents."""
        return [each for each in self.proxy.requests if each.method == "GET" and _in_documents(each)]

    def spoil(self, rule: Rule) -> Rule:
        return self.proxy.add(rule)


class Storm(Rule):
    """A rule that spoils a share of what it matches."""

    rate = 1.0
    rng = random.Random(0)

    def matches(self, method: str, key: str, headers: Mapping[str, str]) -> bool:
        return super().matches(method, key, headers) and self.rng.random() < self.rate


class LostOnce(Rule):
    """Loses the first answer about each key."""

    def __init__(self, key: str, *, times: int) -> None:
        super().__init__("lose", "PUT|POST|DELETE", key, times=times)
        self._seen: set[str] = set()

    def matches(self, method: str, key: str, headers: Mapping[str, str]) -> bool:
        name = key.partition("?")[0]
        if name in self._seen or not super().matches(method, key, headers):
            return False
        self._seen.add(name)
        return True


class Meanwhile(Rule):
    """Spoils nothing: before the first request that it matches goes through, somebody acts."""

    act: Callable[[], None]

    def matches(self, method: str, key: str, headers: Mapping[str, str]) -> bool:
        if super().matches(method, key, headers):
            self.used += 1
            self.act()
        return False


def storm(vendor: str, *, rate: float, seed: int) -> Storm:
    """Answers 503 to a share of the writes of documents, without doing them."""
    rule = Storm("status", "PUT|POST", DOCUMENT, times=1_000_000, **BUSY[vendor])
    rule.rate, rule.rng = rate, random.Random(seed)
    return rule


def meanwhile(key: str, act: Callable[[], None]) -> Meanwhile:
    rule = Meanwhile("status", "PUT|POST|DELETE", key)
    rule.act = act
    return rule


def denied(vendor: str, key: str) -> Rule:
    """Refuses every write of matching keys."""
    return Rule("status", "PUT|POST|DELETE", key, times=1_000_000, **DENIED[vendor])


def _in_documents(request: Request) -> bool:
    return ".lightly/metadata/" in request.key.partition("?")[0]
