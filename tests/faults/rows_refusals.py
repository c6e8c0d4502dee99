"""Rows of the matrix: refusals, protected documents, conditions, tags in other forms, token servers."""

from __future__ import annotations

from typing import Any, Final

from faults.clouds import DOCUMENT, TOKEN, WORDS, WRITE, Cloud, document_of, spoil
from faults.rows import SHORT, Row, row
from servers.s3_rules import Fault

#: A document that is updated, and one that is an orphan.
_UPDATED: Final = document_of(7)
_ORPHAN: Final = document_of(1)


def _refused(cloud: Cloud, what: tuple[int, str], method: str = ".*", key: str = ".*") -> Fault:
    return spoil("status", method, key, status=what[0], code=what[1])


def _protected(store: str, name: str, document: str, method: str) -> Row:
    status, code, message = WORDS[store].protected[name]
    what = "update" if method == WRITE else "delete"
    return row(
        f"{what} of a document under {name}",
        lambda _: spoil("status", method, document, status=status, code=code, message=message),
        (3,),
        stores=(store,),
    )


def _unmet(status: int, code: str) -> Fault:
    """Every condition of a replace or a delete is answered like this."""
    return spoil("status", "PUT|DELETE", having="if-match", status=status, code=code)


def _tags(name: str, settles: bool = True, stores: tuple[str, ...] = ("s3", "azure"), **forms: str) -> Row:
    settings = {"tags": forms}
    return Row(name, lambda _: [], settings=settings, stores=stores, stays=True, settles=settles, met=False)


REFUSALS: Final = [
    row("no right to write", lambda c: _refused(c, c.words.denied, WRITE, DOCUMENT), (1,)),
    row("no right to anything", lambda c: _refused(c, c.words.denied), (1,)),
    row("expired for good", lambda c: _refused(c, c.words.expired), (1,)),
    *(
        _protected(store, name, document, method)
        for store, words in WORDS.items()
        for name in words.protected
        for document, method in ((_UPDATED, WRITE), (_ORPHAN, "DELETE"))
    ),
    row(
        "replaces answered 412",
        lambda _: _unmet(412, "PreconditionFailed"),
        stores=("s3",),
        stays=True,
        met=False,
    ),
    row(
        "replaces answered 405",
        lambda _: _unmet(405, "MethodNotAllowed"),
        stores=("s3",),
        stays=True,
        met=False,
    ),
    Row(
        "conditions answered 405",
        lambda _: [
            spoil("status", "PUT|DELETE", having=name, status=405, code="MethodNotAllowed")
            for name in ("if-match", "if-none-match")
        ],
        stores=("s3",),
        stays=True,
        met=False,
    ),
    Row(
        "conditions answered 501",
        lambda _: [],
        settings={"conditions": "refuse"},
        stays=True,
        met=False,
        stores=("s3",),
    ),
    Row(
        "conditions ignored",
        lambda _: [],
        settings={"conditions": "ignore"},
        stays=True,
        met=False,
        stores=("s3", "azure"),
    ),
    _tags("no tags in listings", settles=False, listed="none"),
    _tags("tags in capitals in listings", listed="upper"),
    _tags("tags in capitals everywhere", listed="upper", answered="upper"),
    _tags("weak tags in listings", listed="weak"),
    _tags("weak tags in answers", answered="weak"),
    _tags("weak tags everywhere", listed="weak", answered="weak"),
    _tags("tags without quotes in listings", listed="bare"),
    _tags("tags without quotes in answers", answered="bare"),
    Row("tags that are no MD5", lambda _: [], settings={"kms": True}, stays=True, met=False, stores=("s3",)),
]

_IDENTITIES: Final = ("gcs", "azure-identity")


def _token(what: str, codes: tuple[int, ...] = (0,), action: str = "status", **more: Any) -> Row:
    """Faults of who gives access tokens: gcsfs's service account, Azure's managed identity."""
    name, job = f"token server: {what}", {} if codes == (0,) else SHORT
    return row(name, lambda _: spoil(action, key=TOKEN, **more), codes, stores=_IDENTITIES, job=job)


TOKENS: Final = [
    Row("access tokens", lambda _: [], stores=_IDENTITIES, settings={"anonymous": False}, met=False),
    _token("503 twice", status=503, times=2),
    _token("503 for good", (1,), status=503),
    _token("reset twice", action="drop", times=2),
    _token("reset for good", (1,), action="drop"),
    _token("a login page once", status=200, body=b"<html></html>", times=1),
    _token("a login page for good", (1,), status=200, body=b"<html></html>"),
    _token("an empty object for good", (1,), status=200, body=b"{}"),
    _token("refused", (1,), status=400, body=b'{"error": "invalid_grant"}'),
]
