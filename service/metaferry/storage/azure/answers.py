"""Which answers of Azure Blob Storage are the service's own and whole, seen before the SDK reads them.

The SDK takes what it finds: a page without the element that tells whether it is the last one ends a
listing, and a part is whatever part came. A :class:`Reading` is called with each answer to a request.
Nothing here makes a request.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any, Final

from metaferry.storage.answers import BadAnswer, require, require_empty, size_of_part, unexpected
from metaferry.storage.errors import Operation

_ASKED: Final = re.compile(r"bytes=(\d+)-(\d*)")
_ROOT: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?[^>]*\?>\s*)?<EnumerationResults[\s>]")
_MARKER: Final = re.compile(rb"<NextMarker\s*(?:/>|>[^<]*</NextMarker\s*>)")
_END: Final = re.compile(rb"</EnumerationResults\s*>\s*\Z")
#: A request that went well is answered with one of these.
_STATUSES: Final[Mapping[Operation, Container[int]]] = {
    "list": (200,),
    "read": (200, 206),
    "put": (201,),
    "delete": range(200, 300),
}


class Done(Exception):
    """A delete was answered with a status of success that the SDK does not know."""


class StrangeStatus(BadAnswer):
    """A status that is no refusal, and yet not what was asked for."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self._failure = unexpected(status)

    @property
    def failure(self) -> Any:
        return self._failure


class Reading:
    """What the SDK calls with each answer (`raw_response_hook`). Raises `BadAnswer`, and `Done`."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def __call__(self, answer: Any) -> None:
        response, operation = answer.http_response, self._operation
        status = response.status_code
        if status >= 400:
            return
        if status not in _STATUSES[operation]:
            raise StrangeStatus(status)
        if operation == "list":
            _require_page(response.body())
        elif operation == "read":
            _require_part(answer.http_request.headers, status, response.headers)
        else:
            require_empty(status, response.body())
            if operation == "delete" and status != 202:
                raise Done


def _require_page(body: bytes) -> None:
    require(_ROOT.match(body), "no listing")
    # The last page says so by an empty element, which comes after the blobs; metadata of a blob may
    # have any name.
    after = max(0, body.rfind(b"</Blobs>"))
    require(_MARKER.search(body, after), "no NextMarker")
    require(_END.search(body, after), "an incomplete listing")


def _require_part(asked: Mapping[str, str], status: int, headers: Mapping[str, str]) -> None:
    require(headers.get("ETag"), "no version")
    wanted = _ASKED.fullmatch(asked.get("x-ms-range") or asked.get("Range") or "")
    if status == 206 and wanted is not None:
        end = int(wanted[2]) + 1 if wanted[2] else None
        size_of_part(headers.get("Content-Range"), int(wanted[1]), end)
