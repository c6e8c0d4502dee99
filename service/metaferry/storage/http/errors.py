"""Codes of what the HTTP client meets, and the store's own word out of an error's XML. No I/O."""

from __future__ import annotations

import re
from typing import Final

_CODE: Final = re.compile(rb"<(?:Code|code)>\s*(\w+)\s*</")

#: The answer had no ETag, though the request went well.
NO_ETAG: Final = "MissingEtag"


class NoCredentials(LookupError):
    """There is nothing to sign with."""


def error_code(body: bytes) -> str:
    """The store's own word for an error, out of the XML of its answer; "" where there is none."""
    found = _CODE.search(body)
    return found[1].decode(errors="replace") if found is not None else ""
