"""A reverse proxy that counts what reaches a server and can spoil it.

It stands between a client and a real server and keeps the Host header, so signatures verify. Tests
hold the :class:`Proxy` in their own process: they read the counts *at the server*, and add rules
that answer an error instead, lose the reply of something that was done, or wait. `decide`
may refuse requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from yarl import URL

from servers.background import http_server

#: Headers of one hop, which the proxy's own connections set for themselves.
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "expect", "content-length"})

#: The name of the object in the first part of a GCS upload.
_NAME = re.compile(rb'"name":\s*("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it reached the proxy. `key` is the decoded path and query; `status` what came back.

    `done` says whether the server behind was asked.
    """

    method: str
    key: str
    status: int
    done: bool


@dataclass(slots=True)
class Rule:
    """Spoils the next `times` requests whose method and decoded path match.

    `status`: answered without doing it. `lose`: done, and the connection closed instead of an
    answer. `drop`: the connection closed without doing it. `wait`: done after `seconds`.
    `truncate`: half of the body, then the connection closed. `ignore`: done as if the header
    `having` had not been sent.
    """

    action: Literal["status", "lose", "drop", "wait", "truncate", "ignore"]
    method: str = ".*"
    key: str = ".*"
    having: str = ""  # a header that the request has to have
    times: int = 1
    status: int = 503
    seconds: float = 0.0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    used: int = 0

    def matches(self, method: str, key: str, headers: Mapping[str, str]) -> bool:
        if self.used >= self.times or (self.having and self.having not in headers):
            return False
        return bool(re.fullmatch(self.method, method) and re.search(self.key, key))


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that is not passed on."""

    status: int
    headers: dict[str, str]
    body: bytes


class Proxy:
    """`endpoint` is where clients go; `upstream` the real server.

    `decide` is asked about each request, by its method and decoded path, before it is passed on.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream.rstrip("/")
        self.endpoint = ""
        self.decide: Callable[[str, str], Awaitable[Refusal | None]] | None = None
        self._requests: list[Request] = []
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._session: aiohttp.ClientSession | None = None

    @property
    def requests(self) -> list[Request]:
        with self._lock:
            return list(self._requests)

    def count(self, method: str = ".*", key: str = ".*", *, done: bool | None = None) -> int:
        """Requests whose method and decoded path match; `done` restricts to those that went through."""
        return sum(
            bool(re.fullmatch(method, each.method) and re.search(key, each.key))
            for each in self.requests
            if done is None or each.done == done
        )

    def add(self, rule: Rule) -> Rule:
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forgets all counts and rules."""
        with self._lock:
            self._requests.clear()
            self._rules.clear()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        key = _key(request.raw_path, body)
        rule = self._take(request.method, key, request.headers)
        if rule is not None and rule.action == "status":
            self._note(request.method, key, rule.status, done=False)
            return web.Response(status=rule.status, body=rule.body, headers=rule.headers)
        if rule is not None and rule.action == "drop":
            self._note(request.method, key, 0, done=False)
            return self._hang_up(request)
        if rule is not None and rule.action == "wait":
            await asyncio.sleep(rule.seconds)
        if self.decide is not None and (refusal := await self.decide(request.method, key)) is not None:
            self._note(request.method, key, refusal.status, done=False)
            return web.Response(status=refusal.status, headers=refusal.headers, body=refusal.body)
        hidden = rule.having if rule is not None and rule.action == "ignore" else ""
        status, headers, content = await self._forward(request, body, hidden)
        self._note(request.method, key, status, done=True)
        if rule is not None and rule.action == "lose":
            return self._hang_up(request)
        if rule is not None and rule.action == "truncate":
            answer = web.StreamResponse(status=status, headers=headers)
            answer.headers["Content-Length"] = str(len(content))
            await answer.prepare(request)
            await answer.write(content[: len(content) // 2])
            return self._hang_up(request)
        if request.method == "HEAD":
            answer = web.StreamResponse(status=status, headers=headers)
            await answer.prepare(request)
            return answer
        return web.Response(status=status, body=content, headers=headers)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _take(self, method: str, key: str, headers: Mapping[str, str]) -> Rule | None:
        with self._lock:
            for rule in self._rules:
                if rule.matches(method, key, headers):
                    rule.used += 1
                    return rule
        return None

    def _note(self, method: str, key: str, status: int, *, done: bool) -> None:
        with self._lock:
            self._requests.append(Request(method, key, status, done))

    async def _forward(
        self, request: web.BaseRequest, body: bytes, hidden: str
    ) -> tuple[int, dict[str, str], bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                # A kept connection that the server closes would make the client send a PUT twice.
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
            )
        left_out = _HOP | {hidden.lower()}
        headers = {name: value for name, value in request.headers.items() if name.lower() not in left_out}
        async with self._session.request(
            request.method,
            URL(self.upstream + request.raw_path, encoded=True),
            headers=headers,
            data=body if body or request.method in ("PUT", "POST") else None,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            if request.method == "HEAD" and "Content-Length" in answer.headers:
                kept["Content-Length"] = answer.headers["Content-Length"]
            return answer.status, kept, content

    def _hang_up(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


class Tap:
    """What goes through `control`: the requests can be looked at, and bodies spoiled on their way."""

    def __init__(self, control: Proxy) -> None:
        self.control = control
        self.seen: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []
        self.spoil: Callable[[bytes], bytes] | None = None
        self.peers: set[object] = set()
        forward = control._forward

        async def watching(
            request: web.BaseRequest, body: bytes, hidden: str
        ) -> tuple[int, dict[str, str], bytes]:
            self.seen.append(request)
            self.bodies.append(body)
            if request.transport is not None:
                self.peers.add(request.transport.get_extra_info("peername"))
            if self.spoil is not None and body:
                body = self.spoil(body)
            return await forward(request, body, hidden)

        control._forward = watching  # type: ignore[method-assign]


def _key(raw_path: str, body: bytes) -> str:
    """The decoded path and query; an upload to GCS, which names its object in the body, gets it as path."""
    path, mark, query = unquote(raw_path).partition("?")
    if path.startswith("/upload/storage/") and (name := _NAME.search(body)):
        path += "/" + json.loads(name[1])
    return f"{path}{mark}{query}"


@contextlib.contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy before `upstream` (such as `http://127.0.0.1:8333`) until the block ends."""
    control = Proxy(upstream)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await control.handle(request)

    with http_server(handle, closing=control.close) as endpoint:
        control.endpoint = endpoint
        yield control
