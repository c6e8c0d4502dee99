"""What is asked over HTTP and what is answered: requests, answers, and a few of them one after the other.

No I/O. An :class:`Exchange` is what callers hand to the client's thread and wait for.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from metaferry.storage.errors import Failure

#: Bytes of an answer that are taken where a request does not say; answers to puts have some hundreds.
MOST: Final = 1 << 20

#: Codes of an answer that is longer than its request allowed, and of one of success without an ETag.
TOO_LONG: Final = "TooLong"
NO_ETAG: Final = "MissingEtag"

_CODE: Final = re.compile(rb"<(?:Code|code)>\s*(\w+)\s*</")


class Request(NamedTuple):
    """One request. `url` is exact and ASCII; `headers` are lines, `Name: value`; `most` bytes of an answer's
    body are taken (0: any number)."""

    method: str
    url: str
    headers: list[str]
    body: bytes = b""
    most: int = MOST


class Answer(NamedTuple):
    """`lines` are those of all heads that came, interim ones first."""

    status: int
    lines: tuple[bytes, ...]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Of the final head; names in small letters, values of one that comes twice together."""
        found: dict[str, str] = {}
        for line in self.lines:
            name, colon, value = line.decode("latin-1").partition(":")
            if line.startswith(b"HTTP/"):
                found.clear()
            elif colon:
                name, value = name.lower(), value.strip()
                found[name] = f"{found[name]}, {value}" if name in found else value
        return found

    def headers_of_part(self, *, token: str) -> dict[str, str]:
        """Of `headers` those that tell what part of an object this is, and the one called `token` (in small
        letters): parsing all of them is most of the work of a small read."""
        head = b"".join(self.lines).decode("latin-1")
        if self.status != 206 or head.count("HTTP/") != 1:
            return self.headers
        lines = _of_part(token).findall(head)
        found = {name.lower(): value.strip() for name, value in lines}
        return found if len(found) == len(lines) else self.headers  # which puts one that comes twice together


@functools.cache
def _of_part(token: str) -> re.Pattern[str]:
    return re.compile(rf"\n(content-range|last-modified|{re.escape(token)}):([^\r\n]*)", re.IGNORECASE)


class Exchange:
    """Requests that are made one after the other, and what became of each.

    It ends at the first that is not answered with 2xx; `ended` is asked before each further one, and `done`
    is called once, both in the client's thread. `timeout` (seconds) bounds each request. `results` are of
    those that were made.
    """

    __slots__ = ("_done", "ended", "requests", "results", "timeout")

    def __init__(
        self,
        requests: Sequence[Request],
        done: Callable[[], object],
        *,
        timeout: float,
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self.requests = requests
        self.timeout = timeout
        self.results: list[Answer | Failure] = []
        self.ended = ended
        self._done: Callable[[], object] | None = done

    def add(self, result: Answer | Failure) -> Request | None:
        """Takes what became of a request; gives the next one, if there is to be one."""
        self.results.append(result)
        made = len(self.results)
        good = isinstance(result, Answer) and 200 <= result.status < 300
        if good and made < len(self.requests) and not self.ended():
            return self.requests[made]
        self.finish()
        return None

    def finish(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done()


def header_lines(headers: dict[str, str]) -> list[str]:
    """Headers as they are sent. ValueError for one that would be read as something else."""
    for name, value in headers.items():
        if not value.isascii() or not value.isprintable() or not value.strip():
            raise ValueError(name)
    return [f"{name}: {value}" for name, value in headers.items()]


def error_code(body: bytes) -> str:
    """The store's own word for an error, out of the XML of its answer; "" where there is none."""
    found = _CODE.search(body)
    return found[1].decode(errors="replace") if found is not None else ""
