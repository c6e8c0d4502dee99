"""The rows of the matrix: what is done to a store while a run writes to it, and how the run may end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final

from faults.clouds import DOCUMENT, METADATA, STATE, TABLE, WRITE, Cloud, spoil
from servers.s3_rules import Fault

ALL: Final = ("s3", "gcs", "azure")
BOTH: Final = ("orphans", "never")
ORPHANS: Final = ("orphans",)

#: What somebody in between answers for a store: status and body.
FOREIGN: Final = {
    "a login page": (200, b"<!DOCTYPE html><html><body><form>Please sign in</form></body></html>"),
    "an error as JSON": (200, b'{"error": {"code": 503, "message": "try later"}}'),
    "an empty object": (200, b"{}"),
    "an empty list": (200, b"[]"),
    "null": (200, b"null"),
    "other XML": (200, b'<?xml version="1.0"?><ListAllMyBucketsResult></ListAllMyBucketsResult>'),
    "nothing": (200, b""),
    "204": (204, b""),
    "304": (304, b""),
}

#: Whatever fails for good is given up soon.
SHORT: Final = {"retry_for": 1}


@dataclass(frozen=True)
class Row:
    """One fault. `codes` are the exit codes that the spoiled run may end with.

    `delete` are the policies it is tried under. `stays`: a trait of the store rather than a fault, so
    that all three runs are under it. `settles` is False for a trait with which no run can know that it
    has nothing to write. `job` goes over the job's keys, `settings` are the server's. `met` is False
    where the fault need not be met.
    """

    name: str
    faults: Callable[[Cloud], list[Fault]]
    codes: Sequence[int] = (0,)
    stores: Sequence[str] = ALL
    delete: Sequence[str] = ORPHANS
    job: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    stays: bool = False
    settles: bool = True
    met: bool = True

    def __str__(self) -> str:
        return self.name


def row(name: str, make: Callable[[Cloud], Fault], codes: Sequence[int] = (0,), **more: Any) -> Row:
    """One with a single fault."""
    return Row(name, lambda cloud: [make(cloud)], codes, **more)


def foreign(name: str, kind: str, method: str, key: str, codes: Sequence[int] = (0,), **more: Any) -> Row:
    """Requests that are answered with something that is no answer of a store, without being done."""
    status, body = FOREIGN[kind]
    times = more.pop("times", 1_000_000)
    return row(
        name, lambda _: spoil("status", method, key, status=status, body=body, times=times), codes, **more
    )


def mixed(name: str, kinds: Sequence[str], make: Callable[..., Fault], **more: Any) -> Row:
    """Several kinds of foreign answers, each to a few of the requests."""

    def faults(cloud: Cloud) -> list[Fault]:
        found = [(FOREIGN[kind], seed) for seed, kind in enumerate(kinds)]
        return [make(cloud, status=status, body=body, seed=seed) for (status, body), seed in found]

    return Row(name, faults, **more)


def busy(cloud: Cloud, **more: Any) -> Fault:
    status, code = cloud.words.busy
    return spoil("status", status=status, code=code, **more)


def _paused(name: str, wait: Callable[[], str], codes: Sequence[int] = (0,), **more: Any) -> Row:
    def make(cloud: Cloud) -> Fault:
        return busy(
            cloud, method=WRITE, key=DOCUMENT, times=3, once_each=True, headers={"Retry-After": wait()}
        )

    return row(name, make, codes, **more)


def _http_date(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True)  # noqa: TID251 (the store has the real time)


#: What is throttled for good may take a little longer, to be seen as such.
_SOON: Final = {"retry_for": 3}

PASSING: Final = [
    row("storm of 503", lambda c: busy(c, chance=0.25, seed=1), delete=BOTH),
    row("storm of 429", lambda c: spoil("status", status=429, chance=0.25, seed=2)),
    row("storm of 500", lambda c: spoil("status", status=500, chance=0.25, seed=3)),
    row("resets before it is done", lambda c: spoil("drop", chance=0.25, seed=4)),
    row("lost replies to writes", lambda c: spoil("lose", "PUT|POST|DELETE", METADATA, once_each=True)),
    row("lost replies to everything", lambda c: spoil("lose", chance=0.2, seed=5)),
    row("cut bodies", lambda c: spoil("truncate", "GET", chance=0.3, seed=6)),
    row("cut answers to puts", lambda c: spoil("truncate", WRITE, METADATA, once_each=True)),
    _paused("Retry-After in seconds", lambda: "1"),
    _paused("Retry-After as a date", lambda: _http_date(2)),
    _paused("Retry-After of an hour", lambda: "3600", (0,), job=_SOON),
    _paused("Retry-After as a date in an hour", lambda: _http_date(3600), (0,), job=_SOON),
    _paused("Retry-After that is no number", lambda: "\xb2"),
]


FOR_GOOD: Final = [
    row("throttled for good", lambda c: busy(c, method=WRITE, key=DOCUMENT), (3,), job=_SOON),
    row("429 for good", lambda c: spoil("status", WRITE, DOCUMENT, status=429), (3,), job=_SOON),
    row(
        "throttled for good, Retry-After of an hour",
        lambda c: busy(c, method=WRITE, key=DOCUMENT, headers={"Retry-After": "3600"}),
        (3,),
        job=_SOON,
    ),
    row("503 to everything", busy, (1,), job=_SOON),
    row("puts of documents reset", lambda _: spoil("drop", WRITE, DOCUMENT), (3,), job=_SOON),
    row("everything reset", lambda _: spoil("drop"), (1,), job=_SOON),
]


def _a_read(cloud: Cloud, **more: Any) -> Fault:
    return spoil("status", "GET", TABLE, times=1, **more)


def _a_put(cloud: Cloud, **more: Any) -> Fault:
    # Each kind once for one document: all fifteen in a row would use up its time.
    return spoil("status", WRITE, DOCUMENT, times=3, chance=0.3, once_each=True, **more)


_KINDS: Final = ("nothing", "204", "304", "a login page", "an empty object")

READS: Final = [
    *(
        mixed(f"reads of the table once {', '.join(kinds)}", kinds, _a_read)
        for kinds in (_KINDS[:3], _KINDS[3:])
    ),
    *(foreign(f"all reads of the table: {kind}", kind, "GET", TABLE, (1,), job=SHORT) for kind in _KINDS),
    foreign("reads of state are a login page", "a login page", "GET", STATE, times=3),
    row(
        "a read with a wrong hash",
        lambda c: spoil("edit", "GET", TABLE, times=1, find=c.words.proof, put=c.words.wrong),
    ),
    row("a read of the table with a flipped bit", lambda _: spoil("flip", "GET", TABLE, times=1), (0, 1)),
    row(
        "all reads of the table with a flipped bit",
        lambda _: spoil("flip", "GET", TABLE),
        (1,),
        stores=("gcs", "azure"),
        job=SHORT,
    ),
]

WRITES: Final = [
    mixed("puts answered with a page of somebody else", _KINDS, _a_put),
    foreign("all puts answered with a login page", "a login page", WRITE, DOCUMENT, (1, 3), job=SHORT),
    foreign("the lease answered with a login page", "a login page", WRITE, r"lease\.json", times=2),
    foreign("puts of state answered with a login page", "a login page", WRITE, STATE, times=3),
    foreign("deletes answered with a login page", "a login page", "DELETE", DOCUMENT, times=2),
    row("deletes answered 200 without a body", lambda _: spoil("replace", "DELETE", status=200), stays=True),
    row(
        "puts answered with a wrong hash",
        lambda c: spoil("edit", WRITE, DOCUMENT, times=3, find=c.words.proof, put=c.words.wrong),
    ),
    row(
        "all puts answered with a wrong hash",
        lambda c: spoil("edit", WRITE, DOCUMENT, find=c.words.proof, put=c.words.wrong),
        (0, 1, 3),
        job=SHORT,
    ),
    row("lost replies to deletes", lambda _: spoil("lose", "DELETE", DOCUMENT, once_each=True)),
]
