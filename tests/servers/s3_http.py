"""One HTTP connection of a server in memory: as little as possible between socket and store.

A raw asyncio protocol fed by httptools. Answers leave in the order of the requests, also when they
are delayed; a delay holds up its own connection and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import traceback
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, cast

import httptools

from servers.messages import Reply, Request, StoreConfig
from servers.s3_rules import Behaviour, Fault

CONTROL = "/_control"
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Clock:
    """The time as headers and listings have it, worked out once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._modified = self._date = ""

    def modified(self) -> str:
        self._tick()
        return self._modified

    def date(self) -> str:
        self._tick()
        return self._date

    def _tick(self) -> None:
        second = int(time.time())  # noqa: TID251 (a server has the real time)
        if second != self._second:
            self._second = second
            now = datetime.fromtimestamp(second, UTC)
            self._modified = now.strftime("%Y-%m-%dT%H:%M:%S.000Z")
            self._date = now.strftime("%a, %d %b %Y %H:%M:%S GMT")


class Connection(asyncio.Protocol):
    """Parses requests, and answers them one after the other."""

    def __init__(
        self, api: StoreConfig, behaviour: Behaviour, control: Callable[[dict[str, Any]], Any], clock: Clock
    ) -> None:
        self._api = api
        self._behaviour = behaviour
        self._control = control
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._busy = False

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance: what uvloop gives is none by descent.
        self._transport: asyncio.Transport | None = cast(asyncio.Transport, transport)
        self._parser: Any = httptools.HttpRequestParser(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._parser = None  # which points back here
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if isinstance(error, httptools.HttpParserCallbackError):
                traceback.print_exception(error)  # a fault of this server: its log is shown
            if self._transport is not None:
                self._transport.abort()

    # -- httptools

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if "expect" in self._headers and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = self._parser.get_method().decode()
        request = Request(method, _path(self._target.decode("latin-1")), self._headers, body)
        self._waiting.append((request, self._parser.should_keep_alive()))
        if not self._busy:
            self._next()

    # -- answers

    def _next(self) -> None:
        self._busy = False
        while self._waiting and not self._busy and self._transport is not None:
            self._begin(*self._waiting.popleft())

    def _begin(self, request: Request, keep: bool) -> None:
        """Everything about one request; what takes time leaves the connection busy until it is done."""
        if request.target == CONTROL:
            self._write(self._steer(request), "GET", keep)
            return
        behaviour, now = self._behaviour, self._loop.time()
        key = self._api.key(request)
        if behaviour.cap is not None and behaviour.cap.refuses(request.method, now, behaviour.under_way):
            wait = behaviour.cap.retry_after
            headers = {} if wait is None else {"Retry-After": f"{wait:g}"}
            reply = self._api.refusal(request, *self._api.busy, "Please reduce your request rate.")
            reply.headers |= headers
            behaviour.note(now, request.method, "SlowDown", key, reply.status, False)
            self._write(reply, request.method, keep)
            return
        fault = behaviour.take(request.method, key, request.headers) if behaviour.faults else None
        if fault is None and not behaviour.latency:  # the way of nearly all
            reply = self._api.answer(request)
            behaviour.note(now, request.method, reply.operation, key, reply.status, True)
            self._write(reply, request.method, keep)
            return
        self._busy = True
        behaviour.under_way += 1
        behaviour.most_under_way = max(behaviour.most_under_way, behaviour.under_way)
        before = fault.seconds if fault is not None and fault.action == "wait" else 0.0
        if before:
            self._loop.call_later(before, self._spoiled, request, key, fault, keep)
        else:
            self._spoiled(request, key, fault, keep)

    def _spoiled(self, request: Request, key: str, fault: Fault | None, keep: bool) -> None:
        action = "" if fault is None else fault.action
        if fault is not None and action in ("status", "drop"):
            reply = self._refusal(fault, request)
        else:
            if action == "flip" and request.method == "PUT":
                request.body = _flipped(request.body)
            reply = self._api.answer(request, ignore=fault.having if fault and action == "ignore" else "")
            if action == "flip" and request.method != "PUT":
                reply.body = _flipped(reply.body)
            elif fault is not None and action == "replace":
                reply = self._refusal(fault, request)
            elif fault is not None and action == "edit":
                _edit(reply, fault)
        done = action not in ("status", "drop")
        status = 0 if action == "drop" else reply.status
        self._behaviour.note(self._loop.time(), request.method, reply.operation, key, status, done)
        self._loop.call_later(self._behaviour.latency, self._finish, reply, request.method, fault, keep)

    def _finish(self, reply: Reply, method: str, fault: Fault | None, keep: bool) -> None:
        self._behaviour.under_way -= 1
        transport, action = self._transport, "" if fault is None else fault.action
        if transport is None:
            return
        if action in ("drop", "lose"):
            transport.abort()
        elif action == "truncate":
            transport.write(self._head(reply, keep) + reply.body[: len(reply.body) // 2])
            transport.close()
        elif fault is not None and action == "slow":
            transport.write(self._head(reply, keep))
            step = max(1, len(reply.body) // 10)
            pieces = [reply.body[at : at + step] for at in range(0, len(reply.body), step)]
            self._dribble(deque(pieces), fault.seconds / max(1, len(pieces)), keep)
            return
        else:
            self._write(reply, method, keep)
        self._next()

    def _dribble(self, pieces: deque[bytes], pause: float, keep: bool) -> None:
        if self._transport is None:
            return
        if pieces:
            self._transport.write(pieces.popleft())
            self._loop.call_later(pause, self._dribble, pieces, pause, keep)
            return
        if not keep:
            self._transport.close()
        self._next()

    def _refusal(self, fault: Fault, request: Request) -> Reply:
        code = fault.code or ("" if fault.body else "InternalError" if fault.status == 500 else "")
        if code:
            reply = self._api.refusal(request, fault.status, code, fault.message)
        else:
            body = fault.body.replace(b"@@", b"%d" % fault.used)
            reply = Reply(fault.status, {}, body if request.method != "HEAD" else b"")
        reply.headers |= fault.headers
        if fault.retry_after is not None:
            reply.headers["Retry-After"] = f"{fault.retry_after:g}"
        return reply

    def _steer(self, request: Request) -> Reply:
        try:
            answer = self._control(json.loads(request.body or b"{}"))
            return Reply(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())
        except (KeyError, TypeError, ValueError) as error:
            return Reply(400, {"Content-Type": "text/plain"}, f"{type(error).__name__}: {error}".encode())

    def _write(self, reply: Reply, method: str, keep: bool) -> None:
        assert self._transport is not None
        self._transport.write(self._head(reply, keep) + reply.body)
        if not keep:
            self._transport.close()

    def _head(self, reply: Reply, keep: bool) -> bytes:
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, '')}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        if reply.status not in (204, 304):
            lines.append(f"Content-Length: {len(reply.body) if reply.length is None else reply.length}")
        if not keep:
            lines.append("Connection: close")
        lines += [f"{name}: {value}" for name, value in self._api.common.items()]
        lines.append(f"Date: {self._clock.date()}\r\n\r\n")
        return "\r\n".join(lines).encode("latin-1")


def _edit(reply: Reply, fault: Fault) -> None:
    """Changes an answer as the fault says."""
    put = fault.put.replace("@@", str(fault.used))
    lines = [f"{name}: {value}" for name, value in reply.headers.items()]
    edited = [re.sub(fault.find, put, line, count=fault.often) for line in lines]
    reply.headers = dict(line.split(": ", 1) for line in edited if line)
    pattern = re.compile(fault.find.encode(), re.DOTALL)
    reply.body = pattern.sub(put.encode(), reply.body, count=fault.often)


def _flipped(data: bytes) -> bytes:
    """The same with one bit turned in the middle."""
    if not data:
        return data
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _path(target: str) -> str:
    """The path of a request line; a proxy is given the whole URL there, and this server takes that too."""
    if target.startswith("http://"):
        return "/" + target.removeprefix("http://").partition("/")[2]
    return target
