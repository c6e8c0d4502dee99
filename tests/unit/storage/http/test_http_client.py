"""Answers as servers may give them, well or badly: what the HTTP client makes of each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import certifi
import pytest

from metaferry.errors import Denied, Unavailable, Unsupported
from metaferry.storage.errors import Failure
from metaferry.storage.http.client import CurlClient
from metaferry.storage.http.exchange import TOO_LONG, Answer, Request, header_lines
from metaferry.storage.http.network import Network, UnsupportedOption, proxy_of_environment
from servers.certificates import write_certificates
from servers.scripted import Server

TAG = "0123456789abcdef0123456789abcdef"
USUAL = f'HTTP/1.1 200 OK\r\nServer: x\r\nETag: "{TAG}"\r\nContent-Length: 0\r\n\r\n'.encode()


def usual(head: bytes, body: bytes) -> bytes:
    return USUAL


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(usual)
    yield server
    server.close()


class Client:
    def __init__(self, endpoint: str, *, timeout: float = 30.0, **more: object) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self.curl = CurlClient(Network(endpoint, **more))  # type: ignore[arg-type]

    def request(self, data: bytes = b"{}", method: str = "PUT", most: int = 1 << 20) -> Request:
        return Request(method, f"{self.endpoint}/a.json", ["Content-Type:application/json"], data, most)

    def result(self, data: bytes = b"{}", **more: object) -> Answer | Failure:
        request = self.request(data, **more)  # type: ignore[arg-type]
        (result,) = self.curl.run([request], timeout=self.timeout)
        return result

    def answer(self, data: bytes = b"{}", **more: object) -> Answer:
        result = self.result(data, **more)
        assert isinstance(result, Answer), result
        return result

    def put(self, data: bytes = b"{}") -> str:
        return self.answer(data).headers["etag"].strip('"')

    def fails(self, **more: object) -> Failure:
        result = self.result(**more)  # type: ignore[arg-type]
        assert isinstance(result, Failure), result
        return result


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    client = Client(f"http://127.0.0.1:{server.port}/fleet")
    yield client
    client.curl.close()


def test_one_connection_serves_one_request_after_the_other(server: Server, client: Client) -> None:
    assert [client.put() for _ in range(3)] == [TAG] * 3
    assert server.connections == 1
    assert all(head.startswith(b"PUT /fleet/a.json HTTP/1.1\r\n") for head in server.heads)
    assert not any(b"expect:" in head.lower() for head in server.heads)


BODY = b"<Error><Code>SlowDown</Code><Message>m</Message></Error>"
TAKEN: dict[str, list[bytes | None]] = {
    "byte by byte": [USUAL[n : n + 1] for n in range(len(USUAL))],
    "other words": [b'HTTP/1.1 200 \r\netag:"%b"\r\ncontent-length:0\r\n\r\n' % TAG.encode()],
    "no quotes": [b"HTTP/1.1 200 OK\r\nETag: %b\r\nContent-Length: 0\r\n\r\n" % TAG.encode()],
    "chunks": [
        b'HTTP/1.1 200 OK\r\nETag: "%b"\r\nTransfer-Encoding: chunked\r\n\r\n' % TAG.encode(),
        b"3\r\n \n \r\n0\r\n\r\n",
    ],
    "a body": [b'HTTP/1.1 200 OK\r\nETag: "%b"\r\nContent-Length: 4\r\n\r\n  ' % TAG.encode(), b" \n"],
    "created": [USUAL.replace(b"200 OK", b"201 Created")],
    "after a word in between": [b"HTTP/1.1 100 Continue\r\n\r\n", USUAL],
    "too much": [
        b'HTTP/1.1 200 OK\r\nETag: "%b"\r\nContent-Length: 99999\r\n\r\n' % TAG.encode(),
        b" " * 99_999,
    ],
    "kept": [USUAL.replace(b"Server: x", b"Connection: keep-alive")],
}


@pytest.mark.parametrize("answer", TAKEN.values(), ids=TAKEN)
def test_an_answer_is_read_to_its_end_and_the_connection_goes_on(
    server: Server, client: Client, answer: list[bytes | None]
) -> None:
    for _ in range(2):
        server.say.put(answer)
        assert client.put() == TAG
    assert server.connections == 1


LAST: dict[str, list[bytes | None]] = {
    "it says so": [USUAL.replace(b"Server: x", b"Connection: close")],
    "an old server": [b'HTTP/1.0 200 OK\r\nETag: "%b"\r\n\r\n' % TAG.encode(), None],
    "no length": [b'HTTP/1.1 200 OK\r\nETag: "%b"\r\n\r\n    ' % TAG.encode(), None],
}


@pytest.mark.parametrize("answer", LAST.values(), ids=LAST)
def test_a_connection_that_has_ended_is_not_used_again(
    server: Server, client: Client, answer: list[bytes | None]
) -> None:
    for _ in range(2):
        server.say.put(answer)
        assert client.put() == TAG
    assert server.connections == 2


def test_an_answer_has_status_headers_and_body(server: Server, client: Client) -> None:
    head = (
        b"HTTP/1.1 503 Slow\r\nRetry-After: 7\r\nX-Hash: a\r\nx-hash: b\r\nContent-Length: %d\r\n\r\n"
        % len(BODY)
    )
    server.say.put([b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n", head, BODY])
    answer = client.answer()
    assert (answer.status, answer.body) == (503, BODY)
    assert answer.headers == {"retry-after": "7", "x-hash": "a, b", "content-length": str(len(BODY))}
    assert client.put() == TAG
    assert server.connections == 1  # it answered as it should


CHUNKED = USUAL.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
BROKEN: dict[str, tuple[list[bytes | None], str]] = {
    "nothing": ([None], "ConnectionBroken"),
    "half a head": ([USUAL[:20], None], "ConnectionBroken"),
    "half a tag": ([USUAL[:40], None], "ConnectionBroken"),
    "a head without its end": ([USUAL[:-2], None], "ConnectionBroken"),
    "half a head after a whole one": (
        [b"HTTP/1.1 100 Continue\r\n\r\n" + USUAL[:-2], None],
        "ConnectionBroken",
    ),
    "only a head in between": ([b"HTTP/1.1 100 Continue\r\n\r\n", None], "ConnectionBroken"),
    "a head without end": ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000, None], "BadAnswer"),
    "half a chunk": ([CHUNKED + b"9\r\nab", None], "ConnectionBroken"),
    "half a body": ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", None], "ConnectionBroken"),
    "no HTTP": ([b"220 ready\r\n\r\n", None], "BadAnswer"),
    "no HTTP, and no more": ([b"SSH-2.0-OpenSSH_9.6\r\n", None], "BadAnswer"),
    "no number": ([b"HTTP/1.1 fine\r\n\r\n", None], "BadAnswer"),
    "no chunk": ([CHUNKED + b"zz\r\n", None], "ConnectionBroken"),
}


@pytest.mark.parametrize(("answer", "code"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_answer_passes(
    server: Server, client: Client, answer: list[bytes | None], code: str
) -> None:
    client.put()
    server.say.put(answer)
    assert client.fails() == Failure(code=code, kind=Unavailable)
    after = client.result()
    if isinstance(after, Failure):
        # libcurl takes a head that was cut off for a whole one, and the connection for a good one until it
        # has been idle for a second.
        assert after == Failure(code="ConnectionBroken", kind=Unavailable)
    assert client.put() == TAG


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "GET"])
@pytest.mark.parametrize("data", [b"{}", b""])
def test_a_kept_connection_that_breaks_is_told_and_nothing_is_sent_again(
    server: Server, client: Client, method: str, data: bytes
) -> None:
    """libcurl would send the request a second time, though the first may have been done."""
    client.result(data, method=method)
    server.say.put([None])
    assert client.fails(data=data, method=method) == Failure(code="ConnectionBroken", kind=Unavailable)
    assert len(server.heads) == 2
    assert isinstance(client.result(data, method=method), Answer)
    assert len(server.heads) == 3


def test_an_early_answer_to_a_large_put_is_read(server: Server, client: Client) -> None:
    """A server that refuses a body before it has read it says so, and closes."""
    server.early = True
    server.say.put([b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n" % len(BODY), BODY, None])
    result = client.result(b"x" * 3_000_000)
    # The rest of the body may meet a reset before the answer is read; then it is a broken connection.
    broken = Failure(code="ConnectionBroken", kind=Unavailable)
    assert result == broken or (isinstance(result, Answer) and (result.status, result.body) == (403, BODY))


def test_no_answer_in_time(server: Server) -> None:
    client = Client(f"http://127.0.0.1:{server.port}/fleet", timeout=0.5)
    server.hold.set()
    server.say.put([b"HTTP/1.1 200"])
    assert client.fails() == Failure(code="Timeout", kind=Unavailable)
    server.hold.clear()
    assert client.put() == TAG
    assert server.connections == 2  # an answer that comes too late is nobody else's
    client.curl.close()


@pytest.mark.slow
def test_an_answer_in_pieces_without_end_ends(server: Server) -> None:
    """Each piece comes in time, and there is always one more."""
    client = Client(f"http://127.0.0.1:{server.port}/fleet", timeout=1.0)
    server.drip.set()
    server.say.put([b"HTTP/1.1 200 OK\r\n"])
    assert client.fails() == Failure(code="Timeout", kind=Unavailable)
    client.curl.close()


@pytest.mark.parametrize("head", [b"Content-Length: 99999", b"X: y", b"Transfer-Encoding: chunked"])
def test_a_body_beyond_what_a_request_allows_ends_it(server: Server, client: Client, head: bytes) -> None:
    chunk = b"ffff\r\n" + b" " * 0xFFFF + b"\r\n"
    server.say.put([b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % head, *[chunk] * 20, None])
    assert client.fails(most=1000).code == TOO_LONG
    server.say.put([b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" " * 99_999])
    assert len(client.answer(most=0).body) == 99_999


@pytest.mark.slow
def test_an_idle_connection_that_was_closed_is_noticed_before_the_put(server: Server, client: Client) -> None:
    client.put()
    server.drop()
    threading.Event().wait(1.5)  # libcurl looks at one that was idle for a second
    assert client.put() == TAG
    assert (server.connections, len(server.heads)) == (2, 2)


def test_a_request_without_headers_has_none_of_the_request_before(server: Server, client: Client) -> None:
    with_headers = client.request()._replace(headers=["x-secret: hunter2"])
    for request in (with_headers, with_headers._replace(headers=[])):
        client.curl.run([request], timeout=30.0)
    assert [b"hunter2" in head for head in server.heads] == [True, False]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirection_is_followed(server: Server, client: Client, status: int) -> None:
    where = f"http://127.0.0.1:{server.port}/elsewhere"
    server.say.put([f"HTTP/1.1 {status} Gone\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()])
    answer = client.answer()
    assert (answer.status, answer.headers["location"]) == (status, where)
    assert len(server.heads) == 1


# -- exchanges


def requests(client: Client, number: int) -> list[Request]:
    return [Request("PUT", f"{client.endpoint}/{n}", ["a:b"], b"{}") for n in range(number)]


def test_an_exchange_ends_at_the_first_refusal(server: Server, client: Client) -> None:
    for answer in ([USUAL], [b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"]):
        server.say.put(list(answer))
    results = client.curl.run(requests(client, 5), timeout=30.0)
    assert [isinstance(each, Answer) and each.status for each in results] == [200, 503]
    assert len(server.heads) == 2


def test_an_exchange_ends_when_it_is_told_to(server: Server, client: Client) -> None:
    asked = iter([False, True])
    results = client.curl.run(requests(client, 5), lambda: next(asked), timeout=30.0)
    assert len(results) == 2
    assert len(server.heads) == 2


def test_what_cannot_be_a_request_is_told(client: Client) -> None:
    request = Request("PUT", f"{client.endpoint}/\0", ["a:b"], b"")
    (result,) = client.curl.run([request], timeout=30.0)
    assert result == Failure(code="InvalidRequest", kind=Unsupported)
    with pytest.raises(ValueError, match="Authorization"):
        header_lines({"Authorization": "Bearer a\r\nX-Evil: 1"})


def test_a_cancelled_request_is_ended(server: Server, client: Client) -> None:
    async def work() -> None:
        server.hold.set()
        server.say.put([b"HTTP/1.1 200"])
        task = asyncio.ensure_future(client.curl.request(client.request(), timeout=60.0))
        await asyncio.to_thread(server.asked.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.hold.clear()
        assert isinstance(await client.curl.request(client.request(), timeout=60.0), Answer)

    asyncio.run(work())
    transfers = client.curl._transfers
    assert transfers
    client.curl.close()
    transfers.thread.join(60)  # it may still be putting the answer away, and close does not wait then
    assert not client.curl._transfers


def test_requests_of_loops_and_threads_side_by_side(server: Server, client: Client) -> None:
    async def work() -> list[Answer | Failure]:
        return await asyncio.gather(*(client.curl.request(client.request(), timeout=60.0) for _ in range(50)))

    with ThreadPoolExecutor(8) as threads:
        by_threads = [threads.submit(client.curl.run, requests(client, 25), timeout=60.0) for _ in range(16)]
        by_loops = [threads.submit(asyncio.run, work()) for _ in range(2)]
        results = [each for future in (*by_threads, *by_loops) for each in future.result()]
    assert [each.status if isinstance(each, Answer) else each for each in results] == [200] * 500
    assert server.connections <= 8 + 100


def test_no_call_to_the_thread_is_lost(server: Server, client: Client) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: client.put(), range(2000)))
    assert results == [TAG] * 2000
    assert server.connections <= 8 + 1


def test_a_client_that_was_closed_serves_who_has_it_still(server: Server, client: Client) -> None:
    client.put()
    client.curl.close()
    client.curl.close()
    assert client.put() == TAG  # a thread for this one, which ends after it


def test_the_client_of_a_parent_is_let_alone_in_a_child(server: Server, client: Client) -> None:
    client.put()
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            anew = Client(client.endpoint)
            code = 0 if anew.put() == TAG else 1
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert client.put() == TAG
    assert server.connections == 2  # the parent's goes on


# -- where it goes


def test_where_nobody_listens_is_passing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    failed = Failure(code="ConnectionFailed", kind=Unavailable)
    for endpoint in (f"http://127.0.0.1:{port}/fleet", "http://no-such-host.invalid/fleet"):
        client = Client(endpoint)
        assert client.fails() == failed
        client.curl.close()


def test_a_path_is_sent_as_it_is(server: Server, client: Client) -> None:
    for path in ("/a%20b/%C3%A9/%2E%2E/x", "/a/../b", "/a//b/", "/a%2Fb?sig=a%2Bb%3D&x"):
        client.curl.run([Request("PUT", client.endpoint + path, ["a:b"], b"")], timeout=30.0)
        assert server.heads[-1].split(b" ")[1] == b"/fleet" + path.encode()


def test_a_proxy_is_asked_where_there_is_one(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    proxy = f"http://127.0.0.1:{server.port}"
    client = Client("http://store.invalid/fleet", proxy=proxy)
    assert client.put() == TAG
    assert server.heads[0].startswith(b"PUT http://store.invalid/fleet/a.json HTTP/1.1\r\n")
    assert proxy not in repr(Network("http://store.invalid", proxy))
    client.curl.close()
    monkeypatch.setenv("http_proxy", proxy)
    assert proxy_of_environment("http://store.invalid/fleet") == proxy
    client = Client("http://store.invalid/fleet")  # libcurl does not look for one by itself
    assert client.fails().code == "ConnectionFailed"
    client.curl.close()
    monkeypatch.setenv("no_proxy", "store.invalid")
    assert proxy_of_environment("http://store.invalid/fleet") is None


def test_a_proxy_that_fails_is_passing(server: Server) -> None:
    client = Client("https://store.invalid/fleet", proxy=f"http://127.0.0.1:{server.port}")
    server.say.put([b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", None])
    assert client.fails() == Failure(code="ConnectionFailed", kind=Unavailable)
    assert server.heads[0].startswith(b"CONNECT store.invalid:443 HTTP/1.1\r\n")
    client.curl.close()


def test_both_families_are_tried() -> None:
    """`localhost` is two addresses as a rule, of which a server may have one."""
    server = Server(usual)
    client = Client(f"http://localhost:{server.port}/fleet")
    assert client.put() == TAG
    client.curl.close()
    server.close()


# -- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secure(certificates: Path) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    server = Server(usual, context)
    yield server
    server.close()


@pytest.mark.parametrize("verify", [True, False])
def test_over_tls(secure: Server, certificates: Path, verify: bool) -> None:
    trusted = str(certificates / "ca.pem") if verify else None
    endpoint = f"https://127.0.0.1:{secure.port}/fleet"
    client = Client(endpoint, verify=verify, trusted=trusted)
    assert [client.put(b"x" * size) for size in (2, 100_000)] == [TAG, TAG]
    assert secure.connections == 1
    client.curl.close()


def test_a_certificate_that_is_not_trusted_is_named(secure: Server, certificates: Path) -> None:
    denied = Failure(code="CertificateError", kind=Denied)
    endpoint = f"https://127.0.0.1:{secure.port}/fleet"
    for name, trusted in (
        (endpoint, certifi.where()),
        (endpoint, None),
        (f"https://localhost:{secure.port}/fleet", str(certificates / "ca.pem")),
    ):
        client = Client(name, trusted=trusted)
        assert client.fails() == denied
        client.curl.close()
    assert not secure.heads
    with pytest.raises(UnsupportedOption, match="verify"):
        Client(endpoint, trusted=str(certificates / "none.pem"))


def test_a_client_certificate_is_shown(certificates: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = Server(usual, context)
    endpoint, trusted = f"https://127.0.0.1:{server.port}/fleet", str(certificates / "ca.pem")
    client = Client(endpoint, trusted=trusted, certificate=str(certificates / "server.pem"))
    assert client.put() == TAG
    nobody = Client(endpoint, trusted=trusted)
    assert nobody.fails().kind is Unavailable
    with pytest.raises(UnsupportedOption, match="client_cert"):
        Client(endpoint, certificate="/no/such/file.pem")
    for each in (client, nobody):
        each.curl.close()
    server.close()


def test_bodies_arrive_as_they_are(server: Server, client: Client) -> None:
    data = bytes(range(256)) * 4_000
    client.put(data)
    assert server.bodies[-1] == data
    assert b"content-length: %d" % len(data) in server.heads[0].lower()


def test_a_large_body_is_not_announced(server: Server, client: Client) -> None:
    data = b"x" * 3_000_000
    client.put(data)
    assert server.bodies == [data]
    assert b"expect" not in server.heads[0].lower()
