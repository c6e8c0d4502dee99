"""The thread that makes the requests of a client: a multi handle of libcurl, and a loop over its sockets.

libcurl sends a request a second time by itself if a kept connection breaks before the answer. Here this is
stopped, and reported as a broken connection: the store may have carried out the first one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import pycurl

from metaferry.errors import Denied, Unavailable, Unsupported
from metaferry.storage.errors import Failure
from metaferry.storage.http.exchange import TOO_LONG, Answer, Exchange, Request
from metaferry.storage.http.network import Network, curl_options

log = logging.getLogger(__name__)

#: A connection that was idle for so many seconds is not used again, and an idle thread ends.
_STALE: Final = 15

#: Bytes of a body from which libcurl sends `Expect: 100-continue`.
_ANNOUNCED: Final = 1 << 20

_IN, _OUT, _BAD = select.POLLIN, select.POLLOUT, select.POLLERR | select.POLLHUP
_MASKS: Final = {pycurl.POLL_IN: _IN, pycurl.POLL_OUT: _OUT, pycurl.POLL_INOUT: _IN | _OUT}

#: libcurl's numbers for what does not pass.
_CERTIFICATE: Final = frozenset(
    {
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_ISSUER_ERROR,
    }
)
#: An answer that is no HTTP (CURLE_WEIRD_SERVER_REPLY), and one whose head is too long (CURLE_TOO_LARGE).
_NO_ANSWER: Final = frozenset({pycurl.E_FTP_WEIRD_SERVER_REPLY, pycurl.E_UNSUPPORTED_PROTOCOL, 100})
_BROKEN: Final = Failure(code="ConnectionBroken", kind=Unavailable)

#: Those of this process; and those of its parent, which a forked child must neither use nor free: that would
#: end the TLS sessions of the parent.
_live: weakref.WeakSet[Transfers] = weakref.WeakSet()
_inherited: list[Transfers] = []


def _forked() -> None:
    _inherited.extend(_live)
    _live.clear()


os.register_at_fork(after_in_child=_forked)


class Transfers:
    """`thread` is started by whoever makes one. `may_end` is asked when there is nothing to do, whether
    there has not been for long."""

    def __init__(self, network: Network, may_end: Callable[[bool], bool]) -> None:
        self._options = [*curl_options(network), (pycurl.MAXAGE_CONN, _STALE)]
        self._may_end = may_end
        self._multi: Any = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * network.concurrency)
        self._poll = _poll()
        self._wakes, self._wake = os.pipe()
        os.set_blocking(self._wakes, False)
        os.set_blocking(self._wake, False)
        self._poll.register(self._wakes, _IN)
        self._signalled = False
        # False: no longer watched, but still registered, since as a rule the next request goes over it.
        self._watched: dict[int, bool] = {}
        #: Exchanges to begin (True) and to end (False).
        self.incoming: deque[tuple[Exchange, bool]] = deque()
        self._running: dict[Exchange, _Handle] = {}
        self._idle: dict[str, list[_Handle]] = {}
        self._idle_since = time.monotonic()
        # A daemon: a request that hangs beyond the grace of an interrupt must not hold the process.
        self.thread = threading.Thread(target=self._serve, name="metaferry-http", daemon=True)
        _live.add(self)

    @property
    def busy(self) -> bool:
        return bool(self._running or self.incoming)

    def signal(self) -> None:
        """Wakes the thread. Not to be called after `may_end` returned True."""
        if not self._signalled:
            self._signalled = True
            os.write(self._wake, b"1")

    # -- in the thread

    def _serve(self) -> None:
        try:
            while not self._over():
                self._take()
                due, wait = self._wait()
                events = self._poll.poll(wait * _SECOND)
                for fd, mask in events:
                    if fd == self._wakes:
                        os.read(fd, 4096)
                        self._signalled = False  # not before: a byte written between would be lost
                    elif self._watched.get(fd):
                        bits = pycurl.CSELECT_IN if mask & _IN else 0
                        bits |= pycurl.CSELECT_OUT if mask & _OUT else 0
                        self._multi.socket_action(fd, bits | (pycurl.CSELECT_ERR if mask & _BAD else 0))
                    else:  # the server has closed a connection that nobody uses
                        self._forget(fd)
                if due is not None and due <= time.monotonic():
                    self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
                self._collect()
        except BaseException:
            log.exception("the HTTP client has failed")
            while not self._may_end(True):  # others may hand in requests until it gives True
                self._fail_all()
            raise
        finally:
            self._fail_all()
            self._release()

    def _over(self) -> bool:
        if self._running or self.incoming:
            return False
        return self._may_end(time.monotonic() - self._idle_since >= _STALE)

    def _wait(self) -> tuple[float | None, float]:
        """When libcurl is to be called whatever happens, and the seconds until anything is to be done."""
        # Asked for once a round: told of each change, it would be three calls a request.
        milliseconds = self._multi.timeout()
        if milliseconds < 0:
            return None, 0 if self.incoming else _STALE
        return time.monotonic() + milliseconds / 1000, 0 if self.incoming else milliseconds / 1000

    def _take(self) -> None:
        while self.incoming:
            exchange, begins = self.incoming.popleft()
            if begins:
                self._make(exchange, exchange.requests[0])
                continue
            handle = self._running.pop(exchange, None)
            if handle is not None:
                self._put_back(handle)
                exchange.finish()

    def _make(self, exchange: Exchange, request: Request | None) -> None:
        while request is not None:
            idle = self._idle.setdefault(request.method, [])
            handle = idle.pop() if idle else _Handle(request.method, self._options)
            if self._begin(handle, exchange, request):
                self._running[exchange] = handle
                return
            idle.append(handle)
            request = exchange.add(Failure(code="InvalidRequest", kind=Unsupported))

    def _begin(self, handle: _Handle, exchange: Exchange, request: Request) -> bool:
        """Whether it is a request at all."""
        try:
            handle.set(exchange, request)
            self._multi.add_handle(handle.curl)
        except (pycurl.error, TypeError, ValueError):
            return False
        return True

    def _collect(self) -> None:
        more = True
        while more:
            more, good, bad = self._multi.info_read()
            for curl in good:
                self._end(curl.handle, 0)
            for curl, number, _ in bad:
                self._end(curl.handle, number)

    def _end(self, handle: _Handle, number: int) -> None:
        exchange = handle.exchange
        assert exchange is not None
        request = exchange.add(handle.result(number))
        self._multi.remove_handle(handle.curl)
        handle.clear()
        if request is not None and request.method == handle.method and self._begin(handle, exchange, request):
            return  # as nearly always
        del self._running[exchange]
        self._idle[handle.method].append(handle)
        self._make(exchange, request)
        if not self._running:
            self._idle_since = time.monotonic()

    def _put_back(self, handle: _Handle) -> None:
        self._multi.remove_handle(handle.curl)
        handle.clear()
        self._idle[handle.method].append(handle)

    def _fail_all(self) -> None:
        exchanges = [*self._running, *(exchange for exchange, begins in self.incoming if begins)]
        self._running.clear()
        self.incoming.clear()
        for exchange in exchanges:
            exchange.results.append(_BROKEN)
            exchange.finish()

    def _release(self) -> None:
        for handles in self._idle.values():
            for handle in handles:
                handle.curl.close()
        self._multi.close()
        if hasattr(self._poll, "close"):
            self._poll.close()
        os.close(self._wake)
        os.close(self._wakes)

    # -- what libcurl calls

    def _watch(self, event: int, fd: int, multi: Any, data: Any) -> None:
        if event == pycurl.POLL_REMOVE:
            self._watched[fd] = False
            return
        known = fd in self._watched
        self._watched[fd] = True
        if known:
            with contextlib.suppress(OSError):  # it was closed, and this is another one
                self._poll.modify(fd, _MASKS[event])
                return
        self._poll.register(fd, _MASKS[event])

    def _forget(self, fd: int) -> None:
        self._watched.pop(fd, None)
        try:
            self._poll.unregister(fd)
        except OSError:
            # A forked child has it open still, so the kernel goes on telling of it.
            self._poll.close()
            self._poll = _poll()
            self._watched = {each: True for each, watched in self._watched.items() if watched}
            self._poll.register(self._wakes, _IN)
            for each in self._watched:
                self._poll.register(each, _IN | _OUT)


#: What `poll` takes for a second.
_SECOND: Final = 1 if hasattr(select, "epoll") else 1000


def _poll() -> Any:
    return select.epoll() if hasattr(select, "epoll") else select.poll()


class _Handle:
    """An easy handle for requests of one method."""

    __slots__ = ("_lines", "_most", "_parts", "_sent", "_timeout", "curl", "exchange", "method")

    def __init__(self, method: str, options: list[tuple[int, Any]]) -> None:
        self.method = method
        self.exchange: Exchange | None = None
        self._lines: list[bytes] = []
        self._parts: list[bytes] = []
        self._sent = False
        self._most = 0
        self._timeout = 0.0
        self.curl: Any = pycurl.Curl()
        self.curl.handle = self
        for option, value in options:
            self.curl.setopt(option, value)  # None takes it back
        if method == "GET":
            self.curl.setopt(pycurl.HTTPGET, 1)
        elif method == "HEAD":
            self.curl.setopt(pycurl.NOBODY, 1)
        else:
            self.curl.setopt(pycurl.CUSTOMREQUEST, method)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._lines.append)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._parts.append)
        self.curl.setopt(pycurl.PREREQFUNCTION, self._ready)

    def set(self, exchange: Exchange, request: Request) -> None:
        curl = self.curl
        self.exchange = exchange
        curl.setopt(pycurl.URL, request.url)
        # A large body would be announced first, and waited with for a second.
        headers = request.headers if len(request.body) < _ANNOUNCED else [*request.headers, "Expect:"]
        if headers:
            curl.setopt(pycurl.HTTPHEADER, headers)
        else:  # an empty list would leave those of the request before
            curl.unsetopt(pycurl.HTTPHEADER)
        if self.method in ("PUT", "POST"):
            curl.setopt(pycurl.POSTFIELDS, request.body)
        if request.most != self._most:
            curl.setopt(pycurl.MAXFILESIZE_LARGE, request.most)
            self._most = request.most
        if exchange.timeout != self._timeout:
            curl.setopt(pycurl.TIMEOUT_MS, max(1, round(exchange.timeout * 1000)))
            self._timeout = exchange.timeout

    def clear(self) -> None:
        self.exchange = None
        self._lines.clear()
        self._parts.clear()
        self._sent = False

    def result(self, number: int) -> Answer | Failure:
        """What became of the request; `number` is libcurl's error, 0 for none."""
        if number:
            return _failure(number, sent=self._sent)
        if not _is_whole(self._lines):
            return _BROKEN
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        return Answer(status, tuple(self._lines), b"".join(self._parts))

    def _ready(self, *_: Any) -> int:
        """Called when there is a connection, before anything is sent over it."""
        if self._sent:
            return int(pycurl.PREREQFUNC_ABORT)
        self._sent = True
        return int(pycurl.PREREQFUNC_OK)


def _is_whole(lines: list[bytes]) -> bool:
    """Whether the last head has its end: libcurl takes one that is cut off for a whole one."""
    if not lines:
        return False
    if lines[-1] == b"\r\n":
        return True
    for line in reversed(lines):
        if not line.strip():
            return True
        if line.startswith(b"HTTP/"):
            return False
    return False


def _failure(number: int, *, sent: bool) -> Failure:
    if number in _CERTIFICATE:
        return Failure(code="CertificateError", kind=Denied)
    if number == pycurl.E_FILESIZE_EXCEEDED:
        return Failure(code=TOO_LONG, kind=Unavailable)
    if number in _NO_ANSWER:
        return Failure(code="BadAnswer", kind=Unavailable)
    if not sent:
        return Failure(code="ConnectionFailed", kind=Unavailable)
    return Failure(code="Timeout", kind=Unavailable) if number == pycurl.E_OPERATION_TIMEDOUT else _BROKEN
