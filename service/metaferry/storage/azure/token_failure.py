"""Why Microsoft's token server gave no access token: a transient fault of the server, or wrong credentials.

Sources: RFC 6749, 5.2, and https://learn.microsoft.com/entra/identity-platform/reference-error-codes. The
text of the answer is searched for these codes only, and never shown. Pure functions.
"""

from __future__ import annotations

import re
from typing import Final

from metaferry.errors import Expired, Unavailable
from metaferry.storage.errors import Failure

#: Our code; `codes/meaning.py` has its message.
TOKEN_SERVER: Final = "TokenServer"

_AADSTS: Final = re.compile(r"AADSTS(\d+)")
_BY_AADSTS: Final = {
    "90002": "UnknownTenant",
    "900023": "UnknownTenant",
    "90019": "UnknownTenant",
    "700016": "UnknownClient",
    "7000112": "UnknownClient",
    "7000215": "WrongClientSecret",
    "7000222": "WrongClientSecret",
    "700027": "WrongClientSecret",
}
_BY_WORD: Final = (
    ("unauthorized_client", "UnknownClient"),
    ("deleted_client", "UnknownClient"),
    ("invalid_client", "WrongClientSecret"),
)


def no_token(text: str, *, status: int | None = None, transient: bool = False) -> Failure:
    """`status` is the token server's, None where it did not answer; `transient` overrides the text."""
    if transient or (status is not None and (status in (408, 429) or status >= 500)):
        return Failure(status, TOKEN_SERVER, kind=Unavailable)
    for number in _AADSTS.findall(text):
        if number in _BY_AADSTS:
            return Failure(status, _BY_AADSTS[number])
    for word, code in _BY_WORD:
        if word in text:
            return Failure(status, code)
    if status is not None and status < 400:  # not an answer of a token server
        return Failure(status, TOKEN_SERVER, kind=Unavailable)
    return Failure(status, "NoToken", kind=Expired)
