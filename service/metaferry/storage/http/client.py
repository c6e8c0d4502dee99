"""Puts over connections of our own: a blocking request each, from any thread.

A small put costs less than half of what it costs through obstore, since nothing stands between the thread and
its socket: no second thread, no event loop, no queue. One request is made and one answer read. The
answer of a put that went well is recognised by its form; any other is read by `http.client`, and told
as a :class:`Failure`. A connection that anything was wrong with is not used again. Nothing here retries,
follows a redirection or goes through a proxy; what a request says and an answer means is the store's
:class:`RequestCodec`.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol
from urllib.parse import urlsplit

from metaferry.errors import Denied, Unavailable
from metaferry.storage.errors import Failure
from metaferry.storage.http.options import Network, UnsupportedOption
from metaferry.storage.protocol import Precondition

#: Bytes read at once; the answer to a put has some hundreds. What is longer than so many is cut off.
_READ: Final = 1 << 16

#: A connection that was idle for so many seconds is looked at before it is used, and after so many not used.
_FRESH: Final = 1.0
_STALE: Final = 15.0
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_INTERIM: Final = re.compile(rb"HTTP/1\.\d 1\d\d\b")


class Refused(Exception):
    """A put that did not go well; `failure` is what is known of it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code or failure.status)
        self.failure = failure


class RequestCodec(Protocol):
    """How one store is told to put something, and what it answers. Safe from any thread.

    Header names of answers are in small letters.
    """

    def request(self, key: str, data: bytes, kind: str, only_if: Precondition) -> bytes:
        """A whole request: head and body. `kind` is the content type. Raises `Refused`."""

    def quick(self, answer: bytes, key: str, data: bytes) -> str | None:
        """The token, if these bytes are all of an answer to a put that went well; else None: look closer.

        Raises `Refused`, as `token` does.
        """

    def token(self, headers: Mapping[str, str], body: bytes, key: str, data: bytes) -> str:
        """The token out of an answer with a status of 2xx. Raises `Refused`, also where it shows that
        something else than `data` arrived."""

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """What is known from an answer with any other status."""


class Sockets:
    """The connections to one bucket, as many as are used at once. Safe from any thread, not across a fork.

    `timeout` (seconds) bounds the wait for the answer to one request. Raises `UnsupportedOption` for
    certificates that cannot be read.
    """

    def __init__(
        self,
        network: Network,
        codec: RequestCodec,
        *,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network = network
        self._codec = codec
        self._timeout = timeout
        self._clock = clock
        self._tls = _tls(network)
        self._lock = threading.Lock()
        self._idle: list[Connection] | None = []

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """One of them, nobody else's meanwhile."""
        with self._lock:
            taken = self._idle.pop() if self._idle else None
        connection = taken or Connection(
            self._network, self._tls, self._codec, timeout=self._timeout, clock=self._clock
        )
        try:
            yield connection
        finally:
            with self._lock:
                kept = self._idle is not None
                if self._idle is not None:
                    self._idle.append(connection)
            if not kept:
                connection.close()

    def close(self) -> None:
        """Those that are in use are closed when they are given back."""
        with self._lock:
            idle, self._idle = self._idle or [], None
        for connection in idle:
            connection.close()


class Connection:
    """One at a time makes puts through it; opened by the first, and again after one that did not go well."""

    def __init__(
        self,
        network: Network,
        tls: ssl.SSLContext | None,
        codec: RequestCodec,
        *,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        url = urlsplit(network.endpoint)
        self._address = (url.hostname or "", url.port or (443 if tls is not None else 80))
        self._network = network
        self._tls = tls
        self._codec = codec
        self._timeout = timeout
        self._clock = clock
        self._socket: socket.socket | None = None
        self._used = 0.0

    def put(self, key: str, data: bytes, kind: str, only_if: Precondition) -> str:
        """The token of what is now there. Raises `Refused`."""
        request = self._codec.request(key, data, kind, only_if)
        opened = self._ready()
        try:
            opened.sendall(request)
            answer = opened.recv(_READ)
            self._used = self._clock()
            token = self._codec.quick(answer, key, data)
            return self._error_for(opened, answer, key, data) if token is None else token
        except OSError as error:
            self.close()
            raise Refused(_broken(error)) from None
        except Refused:
            raise
        except BaseException:  # an answer may still come: nobody else must take it for theirs
            self.close()
            raise

    def close(self) -> None:
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()

    def _ready(self) -> socket.socket:
        """The socket, if the server can be thought to listen still; else a new one."""
        opened, idle = self._socket, self._clock() - self._used
        if opened is not None and idle < _FRESH:
            return opened
        if opened is not None and idle < _STALE and not _has_news(opened):
            return opened
        self.close()
        try:
            opened = socket.create_connection(self._address, self._network.connect)
            try:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    opened = self._tls.wrap_socket(opened, server_hostname=self._address[0])
                _bound(opened, min(self._network.read, self._timeout))
            except BaseException:
                opened.close()
                raise
        except OSError as error:
            failure = _broken(error)
            if failure.kind is Unavailable:
                failure = Failure(code="ConnectionFailed", kind=Unavailable)
            raise Refused(failure) from None
        self._socket = opened
        return opened

    def _error_for(self, opened: socket.socket, begin: bytes, key: str, data: bytes) -> str:
        """The token out of an answer that is not of the usual form. Raises `Refused` and OSError."""
        rest = _Rest(begin, opened, self._clock, self._clock() + self._timeout)
        rest.read_head()
        response = http.client.HTTPResponse(rest, method="PUT")  # type: ignore[arg-type] # it asks for makefile
        with contextlib.closing(
            response
        ):  # left to the garbage collector, it may flush a file closed before it
            try:
                response.begin()
                body = response.read(_READ)
            except (http.client.HTTPException, ValueError) as error:
                self.close()
                cut_off = isinstance(error, (OSError, http.client.IncompleteRead))
                code = "ConnectionBroken" if cut_off else "BadAnswer"
                raise Refused(Failure(code=code, kind=Unavailable)) from None
            if response.will_close or not response.isclosed():
                self.close()
        headers = {name.lower(): value for name, value in response.getheaders()}
        if not 200 <= response.status < 300:
            raise Refused(self._codec.failure(response.status, headers, body))
        return self._codec.token(headers, body, key, data)


class _Rest(io.RawIOBase):
    """What was read of an answer and what comes after it, as the socket that `http.client` asks for."""

    def __init__(self, begin: bytes, opened: socket.socket, clock: Callable[[], float], until: float) -> None:
        self._begin = begin
        self._socket = opened
        self._clock = clock
        self._until = until

    def read_head(self) -> None:
        """Goes on until the head is there: `http.client` takes one that is cut off for a whole one.

        Interim answers (100 Continue) are dropped. Raises OSError.
        """
        piece = bytearray(_READ)
        while True:
            end = _HEAD_END.search(self._begin)
            if end is not None and not _INTERIM.match(self._begin):
                return
            if end is not None:
                self._begin = self._begin[end.end() :]
                continue
            if len(self._begin) >= _READ:
                return  # no head is so long: `http.client` will say so
            taken = self._next(memoryview(piece))
            if not taken:
                raise ConnectionResetError
            self._begin += piece[:taken]

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # typeshed: any buffer
        if self._begin:
            taken = self._begin[: len(buffer)]
            self._begin = self._begin[len(taken) :]
            buffer[: len(taken)] = taken
            return len(taken)
        return self._next(buffer)

    def _next(self, buffer: memoryview) -> int:
        if self._clock() >= self._until:  # each piece may come in time, and the answer never
            raise TimeoutError
        return self._socket.recv_into(buffer)


def plain_answer(answer: bytes) -> tuple[dict[str, str], bytes] | None:
    """Headers and body, if this is the whole of an answer that went well and leaves the connection open.

    Only the forms that servers give as a rule are known; None says nothing against an answer.
    """
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end or not head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 201 ")):
        return None
    headers = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name.isascii() or name != name.strip():
            return None  # a header that goes on in the next line, or worse
        headers[name.lower()] = value.strip()
    if headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    if "transfer-encoding" in headers:
        empty = headers["transfer-encoding"].lower() == "chunked" and body == b"0\r\n\r\n"
        return (headers, b"") if empty and "content-length" not in headers else None
    return (headers, body) if headers.get("content-length") == str(len(body)) else None


def header_lines(headers: Mapping[str, str]) -> str:
    """Headers as they are sent. Raises `Refused` for one that would be read as something else."""
    for value in headers.values():
        if not value.isascii() or not value.isprintable():
            raise Refused(Failure(code="InvalidOptions", kind=Denied))
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def _bound(opened: socket.socket, seconds: float) -> None:
    """Each send and receive ends within so many seconds.

    By the kernel where the socket is a plain one: Python would ask it whether there is something to
    read before each read, a second call for which the interpreter lock is given up and waited for.
    """
    if isinstance(opened, ssl.SSLSocket):
        opened.settimeout(seconds)
        return
    whole = int(seconds)
    limit = struct.pack("@ll", whole, int((seconds - whole) * 1e6))
    opened.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        opened.setsockopt(socket.SOL_SOCKET, option, limit)


def _has_news(opened: socket.socket) -> bool:
    """Whether the server said something though nobody asked: as a rule, that it has closed."""
    poll = select.poll()
    poll.register(opened, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def _broken(error: OSError) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure(code="CertificateError", kind=Denied)
    late = isinstance(error, (TimeoutError, BlockingIOError))  # so Python and the kernel say it
    return Failure(code="Timeout" if late else "ConnectionBroken", kind=Unavailable)


def _tls(network: Network) -> ssl.SSLContext | None:
    if urlsplit(network.endpoint).scheme != "https":
        return None
    try:
        context = ssl.create_default_context(cafile=network.trusted)
    except OSError:  # a folder of certificates, or none at all
        raise UnsupportedOption("verify") from None
    if not network.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
