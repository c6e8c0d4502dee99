"""The three object stores, each as a server in memory, and a small datasource on any of them.

What differs between them (how requests are recognised, how errors and pages are worded) is here, so
that a fault is written down once for all three.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from e2e.world import World
from metaferry.lightly.names import document_path
from servers.azure import FastAzure
from servers.azurite import options_for as azure_options
from servers.gcs import GcsServer, private_key
from servers.s3 import FastS3
from servers.s3_rules import Fault
from servers.steering import Steered

#: Every secret holds this word, or the same in base64 (at any of its three beginnings).
CANARY: Final = "c4n4ry7b1rd0"
_SHAPES: Final = (
    CANARY,
    *(base64.b64encode((" " * n + CANARY).encode()).decode()[4:-4] for n in range(3)),
)

#: Decoded paths of documents, their writes and of the table, as the servers log them.
DOCUMENT: Final = r"^[^?]*\.lightly/metadata/img/"
METADATA: Final = r"^[^?]*\.lightly/metadata/"
STATE: Final = r"^[^?]*\.metaferry/"
TABLE: Final = r"^[^?]*tables/labels\.jsonl"
TOKEN: Final = r"^/(msi/)?token"
WRITE: Final = "PUT|POST"
FOR_EVER: Final = 1_000_000

MEDIA: Final = 40
GONE: Final = 4
NEW: Final = 8


#: A page token of these servers: of the page behind this key, wherever it is.
_SEEN: Final = base64.urlsafe_b64encode(b"data/.lightly/metadata/img/010.json").decode()


@dataclass(frozen=True, slots=True)
class Words:
    """How one store speaks. `pages` are edits of a page by name: pattern and what takes its place."""

    scheme: str
    listing: str
    busy: tuple[int, str]
    denied: tuple[int, str]
    expired: tuple[int, str]
    token: str  # of an answer to a put or a read: its version, as `edit` finds it
    proof: str  # of the content, in the same
    wrong: str  # what `edit` makes of it: one of other content
    pages: Mapping[str, tuple[str, str]]
    empty_page: bytes
    protected: Mapping[str, tuple[int, str, str]]


WORDS: Final = {
    "s3": Words(
        scheme="s3",
        listing=r"list-type=2",
        busy=(503, "SlowDown"),
        denied=(403, "AccessDenied"),
        expired=(400, "ExpiredToken"),
        token=r'(?i)^(etag: )"[0-9a-f]*"',
        proof=r'(?i)^(etag: )"[0-9a-f]*"',
        wrong=r'\1"00112233445566778899aabbccddeeff"',
        pages={
            "no-token": (r"<NextContinuationToken>.*?</NextContinuationToken>", ""),
            "empty-token": (r"(<NextContinuationToken>).*?(</NextContinuationToken>)", r"\1\2"),
            "keys-twice": (r"(<Contents>.*?</Contents>)", r"\1\1"),
            "seen-token": (r"(<NextContinuationToken>)[^<]*", rf"\1{_SEEN}"),
            "no-version": (r"<ETag>[^<]*</ETag>", ""),
            "no-size": (r"<Size>\d+</Size>", ""),
            "no-name": (r"<Key>[^<]*</Key>", ""),
        },
        empty_page=b'<?xml version="1.0"?><ListBucketResult><Name>b</Name><Prefix></Prefix><KeyCount>0'
        b"</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated>"
        b"<NextContinuationToken>token-@@</NextContinuationToken></ListBucketResult>",
        protected={"object-lock": (403, "AccessDenied", "Access Denied")},
    ),
    "gcs": Words(
        scheme="gs",
        listing=r"/b/[^/]+/o\?",
        busy=(503, "backendError"),
        denied=(403, "forbidden"),
        expired=(401, "authError"),
        token=r'((?:^x-goog-generation: )|"generation": ")\d+',
        proof=r'((?:^x-goog-hash: md5=)|"md5Hash": ")[^",]*',
        wrong=r"\1AAAAAAAAAAAAAAAAAAAAAA==",
        pages={
            "no-token": (r'"nextPageToken": "[^"]*",? ?', ""),
            "empty-token": (r'("nextPageToken": ")[^"]*', r"\1"),
            "keys-twice": (r'(\{"name": [^{}]*\})', r"\1, \1"),
            "seen-token": (r'("nextPageToken": ")[^"]*', rf"\1{_SEEN}"),
            "no-version": (r'"generation": "\d+", ', ""),
            "no-size": (r'"size": "\d+", ', ""),
            "no-name": (r'"name": "[^"]*", ', ""),
        },
        empty_page=b'{"kind": "storage#objects", "nextPageToken": "token-@@"}',
        protected={
            "temporary-hold": (
                403,
                "forbidden",
                "Object 'b/k' is under active Temporary hold and cannot be deleted, overwritten or "
                "archived until hold is removed.",
            ),
            "event-hold": (
                403,
                "forbidden",
                "Object 'b/k' is under active Event-Based hold and cannot be deleted, overwritten or "
                "archived until hold is removed.",
            ),
            "retention": (
                403,
                "retentionPolicyNotMet",
                "Object 'b/k' is subject to bucket's retention policy or object retention and cannot be "
                "deleted or overwritten until 2036-01-01T00:00:00.000-00:00",
            ),
        },
    ),
    "azure": Words(
        scheme="az",
        listing=r"comp=list",
        busy=(503, "ServerBusy"),
        denied=(403, "AuthorizationPermissionMismatch"),
        expired=(401, "InvalidAuthenticationInfo"),
        token=r'(?i)^(etag: )"[^"]*"',
        proof=r"(?i)^(content-md5: ).*",
        wrong=r"\1AAAAAAAAAAAAAAAAAAAAAA==",
        pages={
            "no-token": (r"<NextMarker>.*?</NextMarker>", ""),
            "empty-token": (r"(<NextMarker>)[^<]+(</NextMarker>)", r"\1\2"),
            "keys-twice": (r"(<Blob>.*?</Blob>)", r"\1\1"),
            "seen-token": (r"(<NextMarker>)[^<]+", rf"\1{_SEEN}"),
            "no-version": (r"<Etag>[^<]*</Etag>", ""),
            "no-size": (r"<Content-Length>\d+</Content-Length>", ""),
            "no-name": (r"<Name>[^<]*</Name>", ""),
        },
        empty_page=b'<?xml version="1.0"?><EnumerationResults ServiceEndpoint="http://t/" ContainerName="b">'
        b"<Blobs></Blobs><NextMarker>token-@@</NextMarker></EnumerationResults>",
        protected={
            "lease": (412, "LeaseIdMissing", "There is currently a lease on the blob."),
            "immutable": (409, "BlobImmutableDueToPolicy", "This operation is not permitted."),
            "archived": (409, "BlobArchived", "This operation is not permitted on an archived blob."),
            "snapshots": (409, "SnapshotsPresent", "This operation is not permitted."),
            "wrong-type": (409, "InvalidBlobType", "The blob type is invalid for this operation."),
        },
    ),
}


@dataclass(frozen=True, slots=True)
class Ran:
    """One command: exit code, both streams, its report where it gave one, and the seconds it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def report(self) -> dict[str, Any] | None:
        return json.loads(self.out) if self.out.lstrip().startswith("{") else None


@dataclass
class Cloud:
    """One store with one bucket: `data/` holds media, documents and state, `tables/` the table."""

    kind: str
    server: Steered
    world: World
    bucket: str
    options: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> Words:
        return WORDS[self.kind.partition("-")[0]]

    def url(self, path: str) -> str:
        return f"{self.words.scheme}://{self.bucket}/{path}"

    def job(self, **more: Any) -> dict[str, Any]:
        return {
            "input": self.url("data/"),
            "storage": {self.words.scheme: self.options},
            "sources": [{"table": self.url("tables/labels.jsonl"), "name": "labels"}],
            "retry_for": 30,
            "lease_wait": 0,
            **more,
        }

    def listing(self, below: str = r"data/(?!\.metaferry)") -> str:
        """The pattern of listings of media and documents, or of what is below another prefix."""
        return rf"{self.words.listing}.*prefix={below}"

    def sync(self, *arguments: str, **job: Any) -> Ran:
        """The command, in this process."""
        self.world.job = self.job(**job)
        self.world.write_job()
        begun = time.monotonic()
        code, out, err = self.world.run_roughly("sync", "job.yaml", *arguments, environment=self.environment)
        return Ran(code, out, err, time.monotonic() - begun)

    # -- what is there

    def objects(self, below: str = "data/.lightly/metadata/") -> dict[str, bytes]:
        """By key in the datasource."""
        found = self.server.objects(self.bucket, below)
        return {key.removeprefix("data/"): data for key, data in found.items()}

    def everything_kept(self) -> str:
        """All documents and all state as text, Parquet as its rows."""
        said = []
        for data in self.objects("data/.").values():
            if data[:4] == b"PAR1":
                table = pq.read_table(io.BytesIO(data))
                said.append(f"{table.to_pylist()!r} {table.schema.metadata!r}")
            else:
                said.append(data.decode("latin-1"))
        return "\n".join(said)

    def writes(self) -> int:
        """Puts and deletes of documents that reached the server since the rules were cleared."""
        return len(self.server.log("PUT|POST|DELETE", METADATA))  # type: ignore[attr-defined]


def furnish(kind: str, server: Steered, folder: Path) -> Cloud:
    """A bucket with the tree of an earlier run, after which media and table have changed; kept for `restore`.

    Four media went, with their rows; eight came; a third of the other rows say something else; one row
    is for no media.
    """
    options, environment = _secretly(kind, server)
    cloud = Cloud(kind, server, World(folder), server.new_bucket(), options, environment)
    server.seed(cloud.bucket, [f"data/{name}" for name in _names(0, MEDIA)])
    server.put(cloud.bucket, "tables/labels.jsonl", _table(_names(0, MEDIA), 0))
    ran = cloud.sync()
    assert ran.code == 0, ran.out + ran.err
    for name in _names(0, GONE):
        server.control(empty={"bucket": cloud.bucket, "prefix": f"data/{name}"})
    server.seed(cloud.bucket, [f"data/{name}" for name in _names(MEDIA, MEDIA + NEW)])
    names = [*_names(GONE, MEDIA + NEW), "img/nobody.png"]
    server.put(cloud.bucket, "tables/labels.jsonl", _table(names, 1))
    server.keep(cloud.bucket)
    return cloud


def document_of(number: int) -> str:
    return document_path(f"img/{number:03}.png")


def has_canary(text: str) -> list[str]:
    """The lines that hold a secret."""
    shapes = [*_SHAPES, *private_key().splitlines()[1:-1]]
    return [line[:300] for line in text.splitlines() if any(shape in line for shape in shapes)]


def _names(start: int, end: int) -> list[str]:
    return [f"img/{number:03}.png" for number in range(start, end)]


def _table(names: list[str], changed: int) -> bytes:
    rows = []
    for number, name in enumerate(names):
        scene = "changed" if changed and number % 3 == 0 else "plain"
        rows.append(json.dumps({"file_name": name, "scene": scene, "weight": len(name) / 4}))
    return "\n".join(rows).encode() + b"\n"


def _secretly(kind: str, server: Steered) -> tuple[dict[str, Any], dict[str, str]]:
    """Options and environment with a canary wherever a secret goes."""
    if kind == "s3":
        assert isinstance(server, FastS3)
        spoken = replace(server, key=f"{CANARY}-key", secret=f"{CANARY}-secret")
        return {**spoken.options, "token": f"{CANARY}-session"}, {}
    if kind == "gcs":
        assert isinstance(server, GcsServer)
        return server.options_of_an_account(), {}
    assert isinstance(server, FastAzure)
    if kind == "azure-identity":
        return server.managed_identity
    key = base64.b64encode(f"{CANARY}-account-key".encode()).decode()
    return azure_options(server.endpoint, key), {}


def spoil(action: str, method: str = ".*", key: str = ".*", **more: Any) -> Fault:
    """A fault that does not end by itself."""
    return Fault(action, method, key, **{"times": FOR_EVER, **more})
