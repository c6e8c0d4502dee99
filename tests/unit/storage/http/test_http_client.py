"""Answers as servers may give them, well or badly: what a put over a connection of our own makes of each.

The server is a plain socket that says, byte for byte, what a test wants.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import certifi
import pytest

from metaferry.errors import Denied, Unavailable
from metaferry.storage.errors import Failure
from metaferry.storage.http.client import Refused, Sockets, plain_answer
from metaferry.storage.http.errors import NO_TAG, Unsigned
from metaferry.storage.http.options import Network, UnsupportedOption
from metaferry.storage.protocol import ABSENT
from metaferry.storage.s3.requests import ANONYMOUS, S3RequestCodec
from metaferry.storage.s3.signature import Endpoint, Signer
from servers.certificates import write_certificates

TAG = "0123456789abcdef0123456789abcdef"
USUAL = f'HTTP/1.1 200 OK\r\nServer: x\r\nETag: "{TAG}"\r\nContent-Length: 0\r\n\r\n'.encode()


class Server:
    """Answers the requests that come with `say`, in order: pieces of bytes; None closes the connection."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.say: queue.Queue[list[bytes | None]] = queue.Queue()
        self.heads: list[bytes] = []
        self.connections = 0
        self.hold = threading.Event()  # set: the next request is never answered
        self._tls = tls
        self._scopes = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._scopes.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._scopes.shutdown(socket.SHUT_RDWR)
        self._scopes.close()
        self.drop()
        for thread in self._threads:
            thread.join(10)

    def drop(self) -> None:
        """Closes what is open, as servers do with idle connections."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._scopes.accept()
                self.connections += 1
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as stream:
                while head := self._request(stream):
                    self.heads.append(head)
                    for piece in [USUAL] if self.say.empty() else self.say.get():
                        if piece is None:
                            return
                        connection.sendall(piece)
                    while self.hold.is_set():
                        if not stream.read(1):
                            return

    def _request(self, stream: object) -> bytes:
        lines = []
        while (line := stream.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
            lines.append(line)
        head = b"".join(lines)
        if head:
            stream.read(int(head.lower().partition(b"content-length:")[2].split()[0]))  # type: ignore[attr-defined]
        return head


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


class Client:
    def __init__(self, endpoint: str, clock: Callable[[], float], **more: object) -> None:
        network = Network(endpoint, None, **more)  # type: ignore[arg-type]
        keys = {"access_key_id": "a", "secret_access_key": "b", "token": None}
        self.sockets = Sockets(
            network,
            S3RequestCodec(Signer(Endpoint(endpoint, "us-east-1"), lambda: keys)),
            timeout=5.0,
            clock=clock,
        )

    def put(self, data: bytes = b"{}") -> str:
        with self.sockets.connection() as connection:
            return connection.put("a.json", data, "application/json", ABSENT)

    def fails(self) -> Failure:
        with pytest.raises(Refused) as caught:
            self.put()
        return caught.value.failure


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def client(server: Server, now: list[float]) -> Iterator[Client]:
    client = Client(f"http://127.0.0.1:{server.port}/fleet", lambda: now[0])
    yield client
    client.sockets.close()


def test_one_connection_serves_one_put_after_the_other(server: Server, client: Client) -> None:
    assert [client.put() for _ in range(3)] == [TAG] * 3
    assert server.connections == 1
    assert all(head.startswith(b"PUT /fleet/a.json HTTP/1.1\r\n") for head in server.heads)


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
    "too much": [
        b'HTTP/1.1 200 OK\r\nETag: "%b"\r\nContent-Length: 99999\r\n\r\n' % TAG.encode(),
        b" " * 99_999,
    ],
}


@pytest.mark.parametrize("answer", LAST.values(), ids=LAST)
def test_a_connection_that_has_ended_is_not_used_again(
    server: Server, client: Client, answer: list[bytes | None]
) -> None:
    for _ in range(2):
        server.say.put(answer)
        assert client.put() == TAG
    assert server.connections == 2


def test_a_refusal_is_told_with_code_and_wait(server: Server, client: Client) -> None:
    head = b"HTTP/1.1 503 Slow\r\nRetry-After: 7\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    server.say.put([head, BODY])
    assert client.fails() == Failure(503, "SlowDown", 7.0)
    server.say.put([b"HTTP/1.1 412 No\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n"])
    assert client.fails() == Failure(412)
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
    "a head without end": ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, None], "BadAnswer"),
    "half a chunk": ([CHUNKED + b"9\r\nab", None], "ConnectionBroken"),
    "no HTTP": ([b"220 ready\r\n\r\n", None], "BadAnswer"),
    "no HTTP, and no more": ([b"SSH-2.0-OpenSSH_9.6\r\n", None], "ConnectionBroken"),
    "no number": ([b"HTTP/1.1 fine\r\n\r\n", None], "BadAnswer"),
    "no chunk": ([CHUNKED + b"zz\r\n", None], "ConnectionBroken"),
    "no tag": ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], NO_TAG),
    "an empty tag": ([b'HTTP/1.1 200 OK\r\nETag: ""\r\nContent-Length: 0\r\n\r\n'], NO_TAG),
}


@pytest.mark.parametrize(("answer", "code"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_answer_passes(
    server: Server, client: Client, answer: list[bytes | None], code: str
) -> None:
    client.put()
    server.say.put(answer)
    assert client.fails() == Failure(code=code, kind=Unavailable)
    assert client.put() == TAG


def test_an_answer_that_comes_too_late_is_nobody_elses(server: Server, now: list[float]) -> None:
    client = Client(f"http://127.0.0.1:{server.port}/fleet", lambda: now[0], read=0.2)
    server.hold.set()
    server.say.put([b"HTTP/1.1 200"])
    assert client.fails() == Failure(code="Timeout", kind=Unavailable)
    server.hold.clear()
    assert client.put() == TAG
    assert server.connections == 2
    client.sockets.close()


def test_an_answer_in_pieces_without_end_ends(server: Server, client: Client) -> None:
    """Each piece comes in time, and there is always one more."""
    server.say.put([b"HTTP/1.1 200 OK\r\n", *[b"X-Another: header\r\n"] * 50])
    ticks = iter(range(10_000))
    client.sockets._clock = lambda: float(next(ticks))  # each look at the clock is a second later
    server.hold.set()
    assert client.fails() == Failure(code="Timeout", kind=Unavailable)
    server.hold.clear()


def test_an_idle_connection_that_was_closed_is_noticed_before_the_put(
    server: Server, client: Client, now: list[float]
) -> None:
    client.put()
    now[0] = 2.0
    client.put()
    assert server.connections == 1  # it was looked at, and is fine
    server.drop()
    now[0] = 4.0
    assert client.put() == TAG
    assert server.connections == 2
    now[0] = 30.0  # nobody knows what stands in between: not tried at all
    assert client.put() == TAG
    assert server.connections == 3


KEPT = {"content-length": "2", "etag": "1"}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 200 OK\r\nEtag:1\r\nContent-Length:  2 \r\n\r\n{}", (KEPT, b"{}")),
        (b"HTTP/1.1 201 \r\nETAG: 1\r\ncontent-length: 2\r\n\r\n{}", (KEPT, b"{}")),
        (b"HTTP/1.1 200 OK\r\nEtag: 1\r\nContent-Length: 2\r\n\r\n{", None),
        (b"HTTP/1.1 200 OK\r\nEtag: 1\r\nContent-Length: 2\r\n\r\n{}H", None),
        (b"HTTP/1.1 200 OK\r\nEtag: 1\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nEtag: 1\r\n folded\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nEtag : 1\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", None),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 100 Continue\r\n\r\n", None),
        (b"", None),
    ],
)
def test_what_is_taken_for_a_whole_answer(answer: bytes, found: tuple[dict[str, str], bytes] | None) -> None:
    assert plain_answer(answer) == found


def test_where_nobody_listens_is_passing(now: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}/fleet", lambda: now[0])
    assert client.fails() == Failure(code="ConnectionFailed", kind=Unavailable)
    client = Client("http://no-such-host.invalid/fleet", lambda: now[0])
    assert client.fails() == Failure(code="ConnectionFailed", kind=Unavailable)


def test_without_credentials_no_connection_is_made(server: Server, now: list[float]) -> None:
    def nobody() -> dict[str, str]:
        raise Unsigned

    endpoint = f"http://127.0.0.1:{server.port}/fleet"
    sockets = Sockets(
        Network(endpoint, None),
        S3RequestCodec(Signer(Endpoint(endpoint, "r"), nobody)),
        timeout=5.0,
        clock=lambda: now[0],
    )
    with sockets.connection() as connection, pytest.raises(Refused) as caught:
        connection.put("a.json", b"{}", "application/json", ABSENT)
    assert caught.value.failure is ANONYMOUS
    assert server.connections == 0


def test_as_many_connections_as_are_used_at_once(server: Server, client: Client) -> None:
    def one(_: int) -> list[str]:
        return [client.put() for _ in range(25)]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(one, range(8))) == [[TAG] * 25] * 8
    assert 1 <= server.connections <= 4
    client.sockets.close()
    client.sockets.close()
    assert client.put() == TAG  # opened for this one, and closed after it
    assert client.sockets._idle is None


# -- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secure(certificates: Path) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    server = Server(context)
    yield server
    server.close()


@pytest.mark.parametrize("verify", [True, False])
def test_over_tls(secure: Server, certificates: Path, now: list[float], verify: bool) -> None:
    trusted = str(certificates / "ca.pem") if verify else None
    endpoint = f"https://127.0.0.1:{secure.port}/fleet"
    client = Client(endpoint, lambda: now[0], verify=verify, trusted=trusted, read=0.3)
    assert [client.put(b"x" * size) for size in (2, 100_000)] == [TAG, TAG]
    assert secure.connections == 1
    secure.hold.set()
    secure.say.put([b"HTTP/1.1 200"])
    assert client.fails() == Failure(code="Timeout", kind=Unavailable)
    secure.hold.clear()
    client.sockets.close()


def test_a_certificate_that_is_not_trusted_is_named(
    secure: Server, certificates: Path, now: list[float]
) -> None:
    denied = Failure(code="CertificateError", kind=Denied)
    endpoint = f"https://127.0.0.1:{secure.port}/fleet"
    assert Client(endpoint, lambda: now[0], trusted=certifi.where()).fails() == denied
    other_name = f"https://localhost:{secure.port}/fleet"
    trusted = str(certificates / "ca.pem")
    assert Client(other_name, lambda: now[0], trusted=trusted).fails() == denied
    assert not secure.heads
    with pytest.raises(UnsupportedOption, match="verify"):
        Client(endpoint, lambda: now[0], trusted=str(certificates / "none.pem"))


def test_bodies_arrive_as_they_are(server: Server, client: Client) -> None:
    data = bytes(range(256)) * 4_000
    client.put(data)
    assert hashlib.sha256(data).hexdigest().encode() in server.heads[0]
    assert b"content-length:%d" % len(data) in server.heads[0]
