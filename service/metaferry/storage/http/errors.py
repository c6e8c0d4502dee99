"""What obstore raised, reduced to status and code; never its text.

obstore's exceptions are a class, a sentence and a dump of the error behind it. The class is no
guide (a 409 is "already exists", a 404 to a condition is "precondition"), and the sentence quotes
the URL and the answer, so only two things are taken, from the dump, by their exact form: the status
with the store's error code, or what became of the connection. Retry-After is not in it.
"""

from __future__ import annotations

import re
from typing import Final

from metaferry.errors import Denied, Unavailable, Unsupported
from metaferry.storage.errors import Failure

#: The answer in the dump. Strings are escaped there, so no key and no body can fake the line break.
_STATUS: Final = re.compile(r'inner: Status \{\n\s+status: (\d{3}),\n\s+body: (?:None|Some\(\n\s+"(.*)",\n)')
_CODE: Final = re.compile(r"<(?:Code|code)>\s*(\w+)\s*</")
_KIND: Final = re.compile(r"HttpError \{\n\s+kind: (\w+),\n")
_CERTIFICATE: Final = re.compile(r"\bInvalidCertificate\b|\binvalid peer certificate\b")
_SOURCE: Final = re.compile(r"\n +source: (\w+)")

#: What the dump calls a thing: what it is called here.
_KINDS: Final = {
    "Timeout": "Timeout",
    "Connect": "ConnectionFailed",
    "Request": "RequestFailed",
    "Interrupted": "ConnectionBroken",
    "Decode": "BadAnswer",
}

#: The answer had no ETag, though the request went well.
NO_TAG: Final = "MissingEtag"
#: A redirection without an address.
NOWHERE: Final = "BareRedirect"
#: A range was asked for and the whole object came.
WHOLE: Final = "NotPartial"


class Unsigned(LookupError):
    """There is nothing to sign with."""


def fast_failure(error: BaseException) -> Failure:
    """Status and code of what obstore raised."""
    dump = str(error).rpartition("\n\nDebug source:\n")[2]
    answer = _STATUS.search(dump)
    if answer is not None:
        return Failure(int(answer[1]), error_code(answer[2] or ""))
    if _CERTIFICATE.search(dump):
        return Failure(code="CertificateError", kind=Denied)
    transport = _KIND.search(dump)
    if transport is not None:
        return Failure(code=_KINDS.get(transport[1], "HttpError"), kind=Unavailable)
    if isinstance(error, ValueError):
        return Failure(code="InvalidKey", kind=Unsupported)
    for name in (NO_TAG, WHOLE):
        if re.search(rf"\bsource: {name}\b", dump):
            return Failure(code=name, kind=Unavailable)
    if re.search(rf"\binner: {NOWHERE}\b", dump):
        return Failure(code=NOWHERE, kind=Unavailable)
    source = _SOURCE.search(dump)
    return Failure(code=source[1] if source is not None else type(error).__name__, kind=Unavailable)


def error_code(body: str) -> str:
    """The store's own word for an error, out of the XML of its answer; "" where there is none."""
    found = _CODE.search(body)
    return found[1] if found is not None else ""
