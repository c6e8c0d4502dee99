"""From a failure of a store to one of our errors: the only place that classifies and words them.

An adapter reduces what its library raised to a :class:`Failure` (HTTP status and error code, nothing
else), and :func:`storage_error` does the rest. The text of a library's exception is never used: it may
quote a signed URL, a header or a connection string. Nothing here does I/O.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from metaferry.errors import (
    Changed,
    Conflict,
    Corrupt,
    Denied,
    Expired,
    NotFound,
    Protected,
    Scope,
    StorageError,
    Throttled,
    Unavailable,
    Unsupported,
)
from metaferry.storage.codes.azure import AZURE, CONTAINER_CODES
from metaferry.storage.codes.gcs import GCS
from metaferry.storage.codes.meaning import COMMON, Meaning
from metaferry.storage.codes.s3 import S3

#: Digits of a Retry-After that are used: more than thirty years.
_WAIT_DIGITS: Final = 9

Operation = Literal["list", "read", "put", "delete", "tags"]
Store = Literal["s3", "gcs", "azure", "local", "memory", "generic"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A library's error, reduced. `kind` overrides the tables where an adapter knows better.

    `status` is None when no answer came; `code` is the store's error code (`NoSuchKey`) or the name of
    a connection error (`ReadTimeoutError`). `retry_after` is in seconds. `bucket`: the bucket or
    container itself was not found. `reason` says in our words what is wrong with an answer, and quotes
    nothing of it.
    """

    status: int | None = None
    code: str = ""
    retry_after: float | None = None
    bucket: bool = False
    kind: type[StorageError] | None = None
    reason: str = ""


def retry_after(
    headers: Mapping[str, str],
    *,
    now: Callable[[], float] = time.time,  # noqa: TID251 - for answers without a Date
) -> float | None:
    """Seconds to wait by Retry-After. Names in `headers` are in lower case, or the mapping ignores case.

    Both forms of RFC 9110, section 10.2.3: seconds, and a date. A date counts from the answer's own
    Date where it has one, since the clock of the store need not be ours; `now` is seconds since 1970.
    """
    wait = headers.get("retry-after", "").strip()
    if wait.isascii() and wait.isdigit():
        return float(wait[:_WAIT_DIGITS])
    until = _http_date(wait)
    if until is None:
        return None
    sent = _http_date(headers.get("date", ""))
    return max(0.0, until - (now() if sent is None else sent))


def _http_date(text: str) -> float | None:
    """Seconds since 1970; None where the text is no date with a time zone."""
    try:
        date = parsedate_to_datetime(text)
        return None if date.tzinfo is None else date.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


#: The known codes of all stores: none has different meanings in two stores (there is a test for it). Other
#: codes are classified by the status.
CODES: Final[Mapping[str, Meaning]] = {**COMMON, **S3, **GCS, **AZURE}

#: Statuses that send a client to another address.
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

#: Codes about the bucket or container, not about one object.
BUCKET_CODES: Final = CONTAINER_CODES | {"NoSuchBucket"}

#: Our code for a put that was answered with the checksum of other bytes.
WRONG_TAG: Final = "WrongETag"

#: Error numbers of the operating system. Others are Unsupported: never retried blindly.
ERRNOS: dict[int, type[StorageError]] = {
    errno.ENOENT: NotFound,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EROFS: Denied,
    errno.EEXIST: Conflict,
    errno.EIO: Unavailable,
    errno.EAGAIN: Unavailable,
    errno.EBUSY: Unavailable,
    errno.EINTR: Unavailable,
    errno.EMFILE: Unavailable,
    errno.ENFILE: Unavailable,
    errno.ENOLCK: Unavailable,
    errno.ESTALE: Unavailable,
    errno.ETIMEDOUT: Unavailable,
    errno.ECONNREFUSED: Unavailable,
    errno.ECONNRESET: Unavailable,
    errno.ECONNABORTED: Unavailable,
    errno.EPIPE: Unavailable,
    errno.ENETUNREACH: Unavailable,
    errno.EHOSTUNREACH: Unavailable,
}


def classify(failure: Failure) -> type[StorageError]:
    """The class of our error: by the code first, then by the status; no answer at all is transient.

    The order matters: Azure answers 403 to a wrong key and S3 400 to an expired token. A 409 is transient
    only where its code says so: a lost race on S3 is, a lock or an archive tier never.
    """
    if failure.kind is not None:
        return failure.kind
    if failure.status == 503 and failure.retry_after is not None:
        return Throttled  # whatever its code, it says how long to wait
    known = CODES.get(failure.code)
    if known is not None:
        return known.kind
    status = failure.status
    if status is None:
        return Unavailable
    if status < 300 or status == 304:
        return Corrupt  # no error, and no answer to this request
    if status == 401:
        return Expired
    if status == 403:
        return Denied
    if status in (404, 410):
        return NotFound
    if status == 412:
        return Conflict
    if status == 429:
        return Throttled
    if status in (408, 425) or (status >= 500 and status not in (501, 505)):
        return Unavailable
    return Unsupported


def errno_failure(error: OSError) -> Failure:
    """An OSError as a failure; its text is dropped, since it quotes whole paths."""
    number = error.errno
    code = type(error).__name__ if number is None else errno.errorcode.get(number, str(number))
    for cls, kind in _OS_ERRORS:
        if isinstance(error, cls):
            return Failure(code=code, kind=kind)
    return Failure(code=code, kind=Unavailable if number is None else ERRNOS.get(number, Unsupported))


def storage_error(
    failure: Failure, *, store: Store, url: str, operation: Operation, path: str = ""
) -> StorageError:
    """Our error for a failure: what happened, where, in which operation; `advice` says what to do."""
    if failure.status in REDIRECTS and failure.code not in CODES:
        failure = replace(failure, code="Redirected")
    kind = classify(failure)
    if kind is Corrupt and failure.kind is None and failure.code not in CODES:
        failure = replace(failure, code="BadAnswer", reason="an unexpected status")
    if kind is Conflict and operation in ("read", "tags"):
        kind = Changed
    bucket = failure.bucket or failure.code in BUCKET_CODES
    detail = " ".join(str(part) for part in (failure.status, failure.code) if part)
    if failure.reason:
        detail = f"{detail}: {failure.reason}"
    known = CODES.get(failure.code)
    what = (known and known.what) or _WHAT[kind]
    if kind is NotFound and bucket:
        what = "there is no such " + _BUCKET[store]
    error = kind(
        f"{url}: {what}{f' ({detail})' if detail else ''}{_when(kind, operation, path)}",
        url=url,
        path="" if kind is NotFound and bucket else path,
        status=failure.status,
        code=failure.code,
        advice=_advice(kind, failure, store, operation, bucket),
    )
    if isinstance(error, Throttled):
        error.retry_after = failure.retry_after
    error.scope = _scope(kind, failure, operation, path)
    error.lasting = kind is Protected or failure.code in _LASTING
    return error


def _scope(kind: type[StorageError], failure: Failure, operation: Operation, path: str) -> Scope:
    """Whether it concerns one object or all. A 403 without a known code may be either; for a listing, all."""
    known = CODES.get(failure.code)
    scope = known.scope if known is not None else None
    if scope is None:
        unknown = known is None and kind is Denied and failure.status == 403
        scope = Scope.EITHER if unknown else kind.scope
    if scope is Scope.EITHER and (operation == "list" or not path):
        return Scope.ALL
    return scope


#: Codes for names under which the store can hold no object, or where something else is in the way.
NOTHING_THERE: Final = frozenset({"ENAMETOOLONG", "ENOTDIR", "EISDIR", "KeyTooLongError", "PathConflict"})
_LASTING: Final = NOTHING_THERE | {"InvalidBlobType", "ResourceTypeMismatch"}

#: OSErrors that libraries raise without a number.
_OS_ERRORS: tuple[tuple[type[OSError], type[StorageError]], ...] = (
    (FileNotFoundError, NotFound),
    (PermissionError, Denied),
    (FileExistsError, Conflict),
    (TimeoutError, Unavailable),
    (ConnectionError, Unavailable),
)

_WHAT: dict[type[StorageError], str] = {
    Throttled: "the store asks for fewer requests",
    Unavailable: "the store did not answer as it should",
    Denied: "access denied",
    Protected: "the object is protected",
    Expired: "the credentials have expired",
    NotFound: "not found",
    Conflict: "somebody else wrote this object",
    Changed: "the object was replaced while it was being read",
    Corrupt: "the bytes that arrived are not the bytes that were sent",
    Unsupported: "the store cannot do this",
}
_DOING: dict[Operation, str] = {
    "list": "listing",
    "read": "reading",
    "put": "writing",
    "delete": "deleting",
    "tags": "reading the tags of",
}
_BUCKET: dict[Store, str] = {
    "s3": "bucket",
    "gcs": "bucket",
    "azure": "container",
    "local": "folder",
    "memory": "folder",
    "generic": "folder",
}

#: The right that each operation needs, by store. docs/storage.md shows them as policies.
RIGHTS: dict[tuple[Store, Operation], str] = {
    ("s3", "list"): "s3:ListBucket on the bucket",
    ("s3", "read"): "s3:GetObject on the objects, and s3:ListBucket to tell one that is missing",
    ("s3", "put"): "s3:PutObject on the objects below .lightly/metadata/ and .metaferry/",
    ("s3", "delete"): "s3:DeleteObject on the objects below .lightly/metadata/ and .metaferry/",
    ("s3", "tags"): "s3:GetObjectTagging on the objects",
    ("gcs", "list"): "storage.objects.list on the bucket",
    ("gcs", "read"): "storage.objects.get on the bucket, and storage.objects.list to tell a missing object",
    ("gcs", "put"): "storage.objects.create, and storage.objects.delete to replace an object",
    ("gcs", "delete"): "storage.objects.delete on the bucket",
    ("azure", "list"): "containers/blobs/read (role Storage Blob Data Reader; `l` in a SAS)",
    ("azure", "read"): "containers/blobs/read (role Storage Blob Data Reader; `r` in a SAS)",
    ("azure", "put"): "containers/blobs/write (role Storage Blob Data Contributor; `cw` in a SAS)",
    ("azure", "delete"): "containers/blobs/delete (role Storage Blob Data Contributor; `d` in a SAS)",
    ("azure", "tags"): "containers/blobs/tags/read (role Storage Blob Data Owner; `t` in a SAS)",
    ("local", "list"): "to read and enter the folder",
    ("local", "read"): "to read the file",
    ("local", "put"): "to write to the folder, since a file is replaced by a rename",
    ("local", "delete"): "to write to the folder",
}

#: Advice where a store cannot be reached, or does not answer in time.
UNREACHED = "run again later; if it stays so, check the address and that this machine may reach it"


def _advice(
    kind: type[StorageError], failure: Failure, store: Store, operation: Operation, bucket: bool
) -> str:
    known = CODES.get(failure.code)
    if known is not None and known.advice:
        return known.advice
    if kind is Denied:
        right = RIGHTS.get((store, operation))
        who = "the user of this process needs" if store == "local" else "the credentials need"
        return f"{who} {right}" if right else "check the credentials in `storage:`"
    if kind is Expired:
        return "get new credentials and run again: it goes on where this one stopped"
    if kind is NotFound and bucket:
        return f"check the URL; metaferry never creates a {_BUCKET[store]}"
    if store == "s3" and operation == "put" and failure.status == 501:
        return (
            "where the store knows no checksum headers: "
            "storage: {s3: {config_kwargs: {request_checksum_calculation: when_required}}}"
        )
    if kind is Throttled:
        return "lower `concurrency`, or run again later"
    if kind is Unavailable:
        return UNREACHED
    if kind is Changed:
        return "run again when nobody is replacing the files"
    return ""


def _when(kind: type[StorageError], operation: Operation, path: str) -> str:
    if path:
        return f" when {_DOING[operation]} {_quoted(path)}"
    # Not found: the operation does not matter.
    return "" if kind is NotFound else f" when {_DOING[operation]} it"


def _quoted(path: str) -> str:
    # A key may contain control characters; a message stays on one line.
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in path) + '"'
