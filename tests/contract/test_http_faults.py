"""Faults of HTTP are the same on all three object stores, whoever makes the requests.

Every test runs over the fsspec library alone, over libcurl on an event loop, and over libcurl from threads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.oauth2.credentials import Credentials

from contract.subjects import TRANSPORTS, ByThreads, Lane
from metaferry.errors import Denied, StorageError, Throttled, Unavailable, Unsupported
from metaferry.storage.factory import open_adapter
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ABSENT, Adapter
from metaferry.storage.retry.attempts import Policy
from metaferry.storage.retry.storage import Retrying
from servers.certificates import write_certificates
from servers.scripted import Server

KEY = "data/a.json"
DATA = b'{"scene": "day"}'
ACCOUNT_KEY = base64.b64encode(b"a key of this account").decode()


def usual(head: bytes, body: bytes) -> bytes:
    """An answer to any put, to a read of three bytes, and to any delete, of any store."""
    if head.startswith(b"DELETE "):
        return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
    if head.startswith(b"GET "):
        return (
            b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-3/16\r\nContent-Length: 3\r\n"
            b'ETag: "0x8D"\r\nLast-Modified: Fri, 27 Nov 2026 20:00:00 GMT\r\nx-goog-generation: 1700\r\n\r\n'
            b"abc"
        )
    md5 = hashlib.md5(DATA)
    encoded = base64.b64encode(md5.digest()).decode()
    if head.startswith(b"POST "):  # Google
        resource = {
            "kind": "storage#object",
            "name": KEY,
            "size": str(len(DATA)),
            "generation": "1700",
            "md5Hash": encoded,
        }
        text = json.dumps(resource).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            len(text),
            text,
        )
    azure = b"x-ms-blob-type" in head.lower()
    tag = "0x8D" if azure else md5.hexdigest()
    return (
        f'HTTP/1.1 {"201 Created" if azure else "200 OK"}\r\nETag: "{tag}"\r\nContent-MD5: {encoded}\r\n'
        "Last-Modified: Fri, 27 Nov 2026 20:00:00 GMT\r\nx-ms-request-server-encrypted: true\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def options_of(kind: str, endpoint: str, *, anonymous: bool = False) -> tuple[str, dict[str, Any]]:
    if kind == "s3":
        keys = {"anon": True} if anonymous else {"key": "a", "secret": "b", "token": "c"}
        return "s3://fleet/data", {
            **keys,
            "client_kwargs": {"region_name": "us-east-1"},
            "endpoint_url": endpoint,
        }
    if kind == "gcs":
        token = "anon" if anonymous else Credentials("hunter2")
        return "gs://fleet/data", {"token": token, "project": "p", "endpoint_url": endpoint}
    parts = [f"BlobEndpoint={endpoint}/acc", "AccountName=acc"]
    if not anonymous:
        parts.append(f"AccountKey={ACCOUNT_KEY}")
    return "az://fleet/data", {"connection_string": ";".join(parts)}


@dataclass
class Case:
    kind: str
    lane: Lane
    server: Server
    portal: Portal
    opened: list[Adapter] = field(default_factory=list)

    def adapter(self, endpoint: str = "", *, anonymous: bool = False, **more: Any) -> Adapter:
        url, options = options_of(
            self.kind, endpoint or f"http://127.0.0.1:{self.server.port}", anonymous=anonymous
        )
        adapter = open_adapter(url, {**options, **more}, transport=TRANSPORTS[self.lane])
        if self.lane == "threads":
            adapter = ByThreads(adapter)
        self.opened.append(adapter)
        return adapter

    def put(self, adapter: Adapter) -> None:
        self.portal.run(adapter.put("a.json", DATA, only_if=ABSENT))

    def fails(self, adapter: Adapter, kind: type[StorageError] = StorageError) -> StorageError:
        with pytest.raises(kind) as caught:
            self.put(adapter)
        return caught.value


@pytest.fixture(params=["s3", "gcs", "azure"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["fsspec", "loop", "threads"])
def case(
    request: pytest.FixtureRequest, kind: str, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = Server(usual)
    case = Case(kind, request.param, server, portal)
    yield case
    for adapter in case.opened:
        portal.run(adapter.close())
    server.close()


HEAD = b"HTTP/1.1 200 OK\r\nETag: "
PASSING: dict[str, list[bytes | None]] = {
    "nothing": [None],
    "half a head": [HEAD, None],
    "a head without its end": [b"HTTP/1.1 200 OK\r\nX: y\r\n", None],
    "half a body": [b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{", None],
    "half a chunk": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n900\r\n{", None],
    "half a refusal": [b"HTTP/1.1 503 No\r\nContent-Length: 900\r\n\r\n<Error>", None],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", None],
    "an internal error": [b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"],
    "a login page": [b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n<p>log in</"],
}


@pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING)
def test_what_passes_is_told_as_such_and_the_next_put_goes_well(
    case: Case, answer: list[bytes | None]
) -> None:
    adapter = case.adapter()
    for _ in range(2 if case.lane == "fsspec" else 1):  # aiohttp makes some puts a second time
        case.server.say.put(answer)
    assert case.fails(adapter).retryable
    storage = Retrying(adapter, Policy(retry_for=60.0, first=0.01))
    case.portal.run(storage.put("a.json", DATA, only_if=ABSENT))


@pytest.mark.parametrize("status", [429, 503])
def test_a_store_that_wants_a_pause_says_how_long(case: Case, status: int) -> None:
    case.server.say.put([b"HTTP/1.1 %d Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n" % status])
    error = case.fails(case.adapter(), Throttled)
    assert isinstance(error, Throttled)
    assert (error.status, error.retry_after) == (status, 7.0)


def test_an_answer_after_a_word_in_between(case: Case) -> None:
    case.server.say.put([b"HTTP/1.1 100 Continue\r\n\r\n", usual(case_head(case.kind), b"")])
    case.put(case.adapter())
    assert len(case.server.heads) == 1


def case_head(kind: str) -> bytes:
    return {"s3": b"PUT /", "gcs": b"POST /", "azure": b"PUT /\r\nx-ms-blob-type: BlockBlob"}[kind]


def test_an_answer_that_comes_before_the_body_was_read(case: Case) -> None:
    """Told as it is, or as a broken connection where the client learns of that first."""
    case.server.early = True
    for _ in range(2):
        case.server.say.put([b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", None])
    adapter = case.adapter()
    with pytest.raises((Denied, Unavailable)):
        case.portal.run(adapter.put("a.json", b"x" * 900_000))


def test_connections_that_are_closed_between_two_requests(case: Case) -> None:
    """A connection that breaks before the answer is told, or was noticed; nothing is lost either way."""
    adapter = case.adapter()
    storage = Retrying(adapter, Policy(retry_for=60.0, first=0.01))
    for _ in range(5):
        case.portal.run(storage.put("a.json", DATA))
        case.server.drop()
    if case.lane != "fsspec":  # aiohttp sends some again by itself
        assert len(case.server.heads) == 5
        assert storage.requests.put == 5 + storage.requests.retries


@pytest.mark.slow
def test_a_body_that_never_ends(case: Case) -> None:
    adapter = case.adapter()
    case.put(adapter)
    storage = Retrying(adapter, Policy(retry_for=0.0, deadline=1.0))
    case.server.drip.set()
    case.server.say.put([b"HTTP/1.1 500 No\r\nX: y\r\n"])
    with pytest.raises(Unavailable):
        case.portal.run(storage.put("a.json", DATA))
    case.server.drip.clear()
    case.put(adapter)


def test_a_request_whose_caller_has_gone(case: Case) -> None:
    """It ends with its task; a blocking one ends by its deadline."""
    adapter = case.adapter()
    case.put(adapter)
    if case.lane == "threads":
        pytest.skip("nobody can end a blocking put from outside")
    case.server.hold.set()
    case.server.say.put([b"HTTP/1.1 200"])
    storage = Retrying(adapter, Policy(retry_for=0.0, deadline=0.5))
    with pytest.raises(Unavailable):
        case.portal.run(storage.put("a.json", DATA))
    case.server.hold.clear()
    case.put(adapter)


def test_a_certificate_that_does_not_fit(case: Case, tmp_path: Path) -> None:
    folder = write_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server = Server(usual, context)
    error = case.fails(case.adapter(f"https://127.0.0.1:{server.port}"))
    assert (type(error), error.code) == (Denied, "CertificateError")
    assert not server.heads
    server.close()


def test_a_proxy_that_fails_and_one_that_works(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = f"http://127.0.0.1:{case.server.port}"
    more: dict[str, Any] = {}
    if case.kind == "gcs":
        more["session_kwargs"] = {"proxy": proxy}
    else:
        monkeypatch.setenv("http_proxy", proxy)
    adapter = case.adapter("http://store.invalid", **more)
    case.server.say.put([b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"])
    error = case.fails(adapter, Unavailable)
    assert error.status == 502
    case.put(adapter)
    assert all(b" http://store.invalid/" in head.partition(b"\r\n")[0] for head in case.server.heads)


# -- redirects


def path_of(head: bytes) -> bytes:
    return head.split(b" ", 2)[1]


def moved_to(origin: str, status: int = 307) -> Callable[[bytes, bytes], bytes]:
    """Answers to whatever is asked: it is at `origin`, below the same path."""

    def answer(head: bytes, body: bytes) -> bytes:
        where = origin.encode() + path_of(head)
        return b"HTTP/1.1 %d Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, where)

    return answer


@pytest.fixture
def moved(case: Case) -> Iterator[Server]:
    """A server that sends everybody to the one of `case`, which is another host."""
    server = Server(moved_to(f"http://127.0.0.1:{case.server.port}"))
    yield server
    server.close()


def refused(case: Case, adapter: Adapter) -> None:
    error = case.fails(adapter, Unsupported)
    assert (error.code, error.retryable) == ("Redirected", False)
    assert "follow_redirects" in error.advice


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_unless_the_job_allows_it(case: Case, status: int) -> None:
    moved = Server(moved_to(f"http://127.0.0.1:{case.server.port}", status))
    refused(case, case.adapter(f"http://127.0.0.1:{moved.port}", anonymous=True))
    assert moved.heads
    assert not case.server.heads
    moved.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_that_the_job_allows(case: Case, status: int) -> None:
    moved = Server(moved_to(f"http://127.0.0.1:{case.server.port}", status))
    adapter = case.adapter(f"http://127.0.0.1:{moved.port}", anonymous=True, follow_redirects=True)
    case.put(adapter)
    assert case.server.bodies[-1] in moved.bodies[-1:]
    assert case.portal.run(adapter.read("a.json", 1, 4)).data == b"abc"
    case.portal.run(adapter.delete("a.json"))
    assert [head.split()[:2] for head in case.server.heads] == [head.split()[:2] for head in moved.heads]
    assert b"\nhost: 127.0.0.1:%d\r\n" % case.server.port in case.server.heads[-1].lower()
    moved.close()


def test_no_credentials_go_to_another_host(case: Case, moved: Server) -> None:
    refused(case, case.adapter(f"http://127.0.0.1:{moved.port}", follow_redirects=True))
    assert b"\nauthorization:" in moved.heads[0].lower()
    assert not case.server.heads


def test_a_redirect_within_the_host(case: Case) -> None:
    """An access token is good for the whole host; a signature is for one path."""

    def answer(head: bytes, body: bytes) -> bytes:
        if path_of(head).startswith(b"/moved/"):
            return usual(head, body)
        return moved_to("/moved")(head, body)

    server = Server(answer)
    adapter = case.adapter(f"http://127.0.0.1:{server.port}", follow_redirects=True)
    if case.kind == "gcs":
        case.put(adapter)
        assert b"\nauthorization: bearer hunter2" in server.heads[-1].lower()
    else:
        refused(case, adapter)
        assert not any(path_of(head).startswith(b"/moved/") for head in server.heads)
    server.close()


def test_a_redirect_to_the_same_address(case: Case) -> None:
    def once(head: bytes, body: bytes) -> bytes:
        return (moved_to("") if len(server.heads) == 1 else usual)(head, body)

    server = Server(once)
    case.put(case.adapter(f"http://127.0.0.1:{server.port}", follow_redirects=True))
    assert len(server.heads) == 2
    server.close()


def test_redirects_without_end(case: Case) -> None:
    server = Server(moved_to(""))
    refused(case, case.adapter(f"http://127.0.0.1:{server.port}", follow_redirects=True))
    puts = [head for head in server.heads if head.startswith((b"PUT ", b"POST "))]
    assert len(puts) in (6, 12)  # five were followed, on both roads where s3fs is asked as well
    server.close()
