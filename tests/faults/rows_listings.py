"""Rows of the matrix: listings that are not what was asked for, or contradict themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from faults.clouds import Cloud, spoil
from faults.rows import ALL, BOTH, FOREIGN, SHORT, Row, mixed, row
from servers.s3_rules import Fault


def _foreign(kind: str, **more: Any) -> Callable[[Cloud], Fault]:
    status, body = FOREIGN[kind]
    return lambda cloud: spoil("status", "GET", cloud.listing(), status=status, body=body, **more)


def _edited(name: str, **more: Any) -> Callable[[Cloud], Fault]:
    often = 0 if name.endswith("-token") else 1

    def make(cloud: Cloud) -> Fault:
        find, put = cloud.words.pages[name]
        return spoil("edit", "GET", cloud.listing(), find=find, put=put, often=often, **more)

    return make


def _a_page(cloud: Cloud, **more: Any) -> Fault:
    return spoil("status", "GET", cloud.listing(), times=1, chance=0.3, **more)


def _half(cloud: Cloud, **more: Any) -> Fault:
    """The first 300 bytes, told as if they were all."""
    return spoil("edit", "GET", cloud.listing(), find=r"\A(.{300}).*\Z", put=r"\1", **more)


#: What pages hold by their name in `Words.pages`, and where. The last page of Cloud Storage has no
#: token at all, that of Azure an empty one: there that is no fault.
_CONTRADICTIONS: Final = (
    ("no-token", "no token", ("s3", "azure")),
    ("empty-token", "an empty token", ("s3", "gcs")),
    ("seen-token", "a token seen before", ALL),
    ("keys-twice", "a key twice", ALL),
    ("no-size", "an entry without its size", ALL),
    ("no-name", "an entry without its name", ALL),
    ("no-version", "an entry without its version", ALL),
)

LISTINGS: Final = [
    mixed("pages of somebody else", list(FOREIGN)[:4], _a_page, delete=BOTH),
    mixed("pages of nobody", list(FOREIGN)[4:], _a_page),
    *(row(f"all pages are {kind}", _foreign(kind), (1,), job=SHORT) for kind in FOREIGN),
    row("a page of half a document", lambda c: _half(c, times=2)),
    row("all pages of half a document", _half, (1,), job=SHORT),
    *(
        row(f"a page with {what}", _edited(name, times=1), stores=stores)
        for name, what, stores in _CONTRADICTIONS
    ),
    *(
        row(f"all pages with {what}", _edited(name), (1,), stores=stores, job=SHORT)
        for name, what, stores in _CONTRADICTIONS
    ),
    row(
        "empty pages without end",
        lambda c: spoil("status", "GET", c.listing(), status=200, body=c.words.empty_page),
        (1,),
        job=SHORT,
    ),
    Row("odd page tokens", lambda _: [], settings={"odd_pages": True}, stays=True, met=False),
]
