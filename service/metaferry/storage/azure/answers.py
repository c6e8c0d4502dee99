"""Checks that answers are the service's own and complete, before the SDK of Azure parses them.

The SDK does not check them: a page without the NextMarker element ends a listing, and any part is taken for
the requested one. An :class:`AnswerCheck` is called with each answer. Nothing here makes a request.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any, Final

from metaferry.storage.answers import BadAnswer, require, require_empty, size_of_part, unexpected
from metaferry.storage.errors import REDIRECTS, Operation
from metaferry.storage.facts.texts import tags_of_xml

_ASKED: Final = re.compile(r"bytes=(\d+)-(\d*)")
_ROOT: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?[^>]*\?>\s*)?<EnumerationResults[\s>]")
_MARKER: Final = re.compile(rb"<NextMarker\s*(?:/>|>[^<]*</NextMarker\s*>)")
_END: Final = re.compile(rb"</EnumerationResults\s*>\s*\Z")
#: The statuses of success of each operation.
_STATUSES: Final[Mapping[Operation, Container[int]]] = {
    "list": (200,),
    "read": (200, 206),
    "put": (201,),
    "delete": range(200, 300),
    "tags": (200,),
}


class Done(Exception):
    """A delete was answered with a status of success that the SDK does not accept."""


class AnswerCheck:
    """A `raw_response_hook` of the SDK, called with each answer. Raises `BadAnswer`, and `Done`."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def __call__(self, answer: Any) -> None:
        response, operation = answer.http_response, self._operation
        status = response.status_code
        if status >= 400 or status in REDIRECTS:
            return
        if status not in _STATUSES[operation]:
            raise BadAnswer("an unexpected status", unexpected(status))
        if operation == "list":
            _require_page(response.body())
        elif operation == "read":
            _require_part(answer.http_request.headers, status, response.headers)
        elif operation == "tags":
            require(tags_of_xml(response.body()) is not None, "no tags")
        else:
            require_empty(status, response.body())
            if operation == "delete" and status != 202:
                raise Done


def _require_page(body: bytes) -> None:
    require(_ROOT.match(body), "no listing")
    # The last page has an empty NextMarker after the blobs; metadata of a blob may have any name, so
    # only the text after them counts.
    after = max(0, body.rfind(b"</Blobs>"))
    require(_MARKER.search(body, after), "no NextMarker")
    require(_END.search(body, after), "an incomplete listing")


def _require_part(asked: Mapping[str, str], status: int, headers: Mapping[str, str]) -> None:
    require(headers.get("ETag"), "no version")
    wanted = _ASKED.fullmatch(asked.get("x-ms-range") or asked.get("Range") or "")
    if status == 206 and wanted is not None:
        end = int(wanted[2]) + 1 if wanted[2] else None
        size_of_part(headers.get("Content-Range"), int(wanted[1]), end)
