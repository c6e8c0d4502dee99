"""Puts over connections of our own: a blocking request each, from any thread.

A small put costs less than half of what it costs through obstore, since nothing stands between the thread and
its socket: no second thread, no event loop, no queue. One request is made and one answer read. The
answer of a put that went well is recognised by its form; any other is read by `http.client`, and told
as a :class:`Failure`. A connection that anything was wrong with is not used again. Nothing here retries,
follows a redirection or goes through a proxy.
"""

from __future__ import annotations

import http.client
import io
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from metaferry.errors import Denied, Unavailable
from metaferry.storage.contract import Precondition
from metaferry.storage.fast_errors import NO_TAG, error_code
from metaferry.storage.fast_network import Network, Untranslatable
from metaferry.storage.fast_signature import Signer, Unsigned
from metaferry.storage.translate import Failure

#: Bytes read at once; the answer to a put has some hundreds. What is longer than so many is cut off.
_READ: Final = 1 << 16

#: A connection that was idle for so many seconds is looked at before it is used, and after so many not used.
_FRESH: Final = 1.0
_STALE: Final = 15.0
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_INTERIM: Final = re.compile(rb"HTTP/1\.\d 1\d\d\b")

#: There is nothing to sign with.
NOBODY: Final = Failure(code="NoCredentials", kind=Denied)


class Refused(Exception):
    """A put that did not go well; `failure` is what is known of it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code or failure.status)
        self.failure = failure


class Sockets:
    """The connections to one bucket, as many as are used at once. Safe from any thread, not across a fork.

    `patience` (seconds) bounds the wait for the answer to one request. Raises `Untranslatable` for
    certificates that cannot be read.
    """

    def __init__(
        self,
        network: Network,
        signer: Signer,
        *,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network = network
        self._signer = signer
        self._patience = patience
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
            self._network, self._tls, self._signer, patience=self._patience, clock=self._clock
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
        signer: Signer,
        *,
        patience: float,
        clock: Callable[[], float],
    ) -> None:
        url = urlsplit(network.endpoint)
        self._address = (url.hostname or "", url.port or (443 if tls is not None else 80))
        self._network = network
        self._tls = tls
        self._signer = signer
        self._patience = patience
        self._clock = clock
        self._socket: socket.socket | None = None
        self._used = 0.0

    def put(self, key: str, data: bytes, kind: str, only_if: Precondition) -> str:
        """The tag of what is now there, without its quotes. Raises `Refused`."""
        try:
            request = self._signer.head(key, data, kind, only_if) + data
        except Unsigned:
            raise Refused(NOBODY) from None
        opened = self._ready()
        try:
            opened.sendall(request)
            answer = opened.recv(_READ)
            self._used = self._clock()
            tag = _usual(answer)
            return self._told(opened, answer) if tag is None else tag
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
                _bound(opened, min(self._network.read, self._patience))
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

    def _told(self, opened: socket.socket, begin: bytes) -> str:
        """The tag out of an answer that is not of the usual form. Raises `Refused` and OSError."""
        rest = _Rest(begin, opened, self._clock, self._clock() + self._patience)
        rest.read_head()
        response = http.client.HTTPResponse(rest, method="PUT")  # type: ignore[arg-type] # it asks for makefile
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
        tag = (response.getheader("ETag") or "").strip('"')
        if not 200 <= response.status < 300:
            wait = response.getheader("Retry-After") or ""
            code = error_code(body.decode(errors="replace"))
            raise Refused(Failure(response.status, code, float(wait) if wait.isdigit() else None))
        if not tag:
            raise Refused(Failure(code=NO_TAG, kind=Unavailable))
        return tag


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


def _usual(answer: bytes) -> str | None:
    """The tag, if this is the whole answer to a put that went well, in the form that servers give it."""
    if not answer.startswith(b"HTTP/1.1 200 ") or answer.find(b"\r\n\r\n") != len(answer) - 4:
        return None
    head = answer.lower()
    if b"\r\ncontent-length: 0\r\n" not in head or b"\r\ntransfer-encoding:" in head:
        return None
    if b"\r\nconnection:" in head and b"\r\nconnection: keep-alive\r\n" not in head:
        return None
    start = head.find(b'\r\netag: "') + 9
    end = answer.find(b'"\r\n', start)
    return answer[start:end].decode("latin-1") if 9 <= start < end else None


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
        raise Untranslatable("verify") from None
    if not network.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
