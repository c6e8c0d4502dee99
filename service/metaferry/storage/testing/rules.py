"""Rules of injected faults: which call of an adapter fails, and how.

A :class:`Rule` pairs a fault with the calls that it strikes. `faulty.py` applies rules to adapters.
Values only; nothing here makes a call.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from metaferry.errors import Corrupt
from metaferry.storage.errors import Failure, Operation, errno_failure
from metaferry.storage.protocol import Adapter

When = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The call fails with the error for `failure`; with `lost`, after its work was done.

    `until_renewed`: the fault no longer strikes after `renew()`, as `Expired` ends with new credentials.
    """

    failure: Failure
    lost: bool = False
    until_renewed: bool = False


@dataclass(frozen=True, slots=True)
class Delay:
    """The call takes this many seconds longer, by the injected sleep."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Flip:
    """One bit of the content changes silently: of what a read returns, or of what a put stores.

    The adapter does not notice: the answer to the put has the hash of the bytes that were sent. Calls
    without content are not affected.
    """


@dataclass(frozen=True, slots=True)
class Kill:
    """The process ends, before the call's work or after it."""

    when: When = "before"


@dataclass(frozen=True, slots=True)
class Meddle:
    """Another client changes the store, before the call's work or after it.

    `act` is awaited with the bare adapter, on the event loop of the run.
    """

    act: Callable[[Adapter], Awaitable[None]]
    when: When = "before"


Fault = Refusal | Delay | Flip | Kill | Meddle

SLOW_DOWN: Final = Refusal(Failure(503, "SlowDown"))
TOO_MANY: Final = Refusal(Failure(429, "TooManyRequests"))
UNAVAILABLE: Final = Refusal(Failure(500, "InternalError"))
RESET: Final = Refusal(Failure(code="ConnectionResetError"))
LOST_REPLY: Final = Refusal(Failure(code="ConnectionResetError"), lost=True)
#: A body shorter than announced, or with a wrong checksum, which the adapter noticed.
TRUNCATED: Final = Refusal(Failure(code="IncompleteBody"))
CORRUPTED: Final = Refusal(Failure(code="ChecksumMismatch", kind=Corrupt))
DENIED: Final = Refusal(Failure(403, "AccessDenied"))
EXPIRED: Final = Refusal(Failure(400, "ExpiredToken"), until_renewed=True)
#: The device is full, as the local adapter reports it.
NO_SPACE: Final = Refusal(errno_failure(OSError(errno.ENOSPC, "")))


#: Kinds of calls, for rules.
LISTS: Final[frozenset[Operation]] = frozenset(("list",))
READS: Final[frozenset[Operation]] = frozenset(("read",))
PUTS: Final[frozenset[Operation]] = frozenset(("put",))
DELETES: Final[frozenset[Operation]] = frozenset(("delete",))
TAGS: Final[frozenset[Operation]] = frozenset(("tags",))
EVERY: Final = LISTS | READS | PUTS | DELETES | TAGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a fault strikes: a call has to match every condition. The defaults match every call.

    operations, path: the kind of call, and a regular expression searched for in its key (in its prefix,
    for a listing). begin, end: seconds since the `Faults` were made, `end` excluded. number: only
    the call with this number. after: the number of matching calls to let through first. times: the
    most calls to strike. chance: the share of calls to strike, drawn from the seed.
    """

    fault: Fault
    operations: frozenset[Operation] = EVERY
    path: str = ""
    begin: float = 0.0
    end: float = float("inf")
    number: int | None = None
    after: int = 0
    times: int | None = None
    chance: float = 1.0


def storm(seconds: float, *, share: float = 0.2, retry_after: float | None = None) -> tuple[Rule, ...]:
    """Every request is refused for `seconds`, then a share of them: 503 and 429 in turn.

    `retry_after` is the refusals' Retry-After in seconds; None for refusals without one.
    """
    refusals = [
        replace(refusal, failure=replace(refusal.failure, retry_after=retry_after))
        for refusal in (SLOW_DOWN, TOO_MANY)
    ]
    return (
        Rule(fault=refusals[0], end=seconds, chance=0.5),
        Rule(fault=refusals[1], end=seconds),
        Rule(fault=refusals[0], begin=seconds, chance=share / 2),
        Rule(fault=refusals[1], begin=seconds, chance=share / 2),
    )
