"""How the servers in memory are spoiled, slowed down and counted.

The rules speak as those of `servers/proxy.py` do, with some more actions; they are applied inside
the server, so nothing stands between it and a client that has to be fast.
"""

from __future__ import annotations

import base64
import random
import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: What page tokens hold where they are odd: all that has to be quoted in a query, in XML or in JSON.
_ODD: Final = '+/=&% ;#?<"é>'


@dataclass(slots=True)
class Fault:
    """Spoils the next `times` requests whose method and decoded path match, each with `chance`.

    `status`: answered without doing it, as the error `code` of the store when there is one, else
    with `body`. `drop`: the connection closed without doing it. `lose`: done, and the connection
    closed instead of an answer. `replace`: done, and answered as for `status`. `edit`: done, and in
    each header line and in the body of the answer whatever matches the pattern `find` becomes
    `put`, with its groups, `often` times (0: always); a line that is then empty is left out.
    `wait`: done after `seconds`. `truncate`: half of the answer's body, then the connection closed.
    `slow`: the answer's body in pieces over `seconds`. `flip`: a bit turned, of what arrives for a
    PUT, of the answer's body for all else. `ignore`: done as if the header `having` had not been
    sent. `@@` in `body` and `put` stands for the number of uses so far. With `once_each` the same
    method and path is spoiled only once.
    """

    action: str
    method: str = ".*"
    key: str = ".*"
    having: str = ""  # a header that the request has to have
    times: int = 1
    status: int = 503
    seconds: float = 0.0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    used: int = 0
    code: str = ""
    retry_after: float | None = None
    chance: float = 1.0
    seed: int = 0
    message: str = "as the test wants it"
    find: str = ""
    put: str = ""
    often: int = 0
    once_each: bool = False


class ActiveFault:
    """A fault with its patterns compiled and its dice."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._method = re.compile(fault.method)
        self._key = re.compile(fault.key)
        self._having = fault.having.lower()
        self._dice = random.Random(fault.seed)
        self._seen: set[tuple[str, str]] = set()

    def takes(self, method: str, key: str, headers: Mapping[str, str]) -> bool:
        fault = self.fault
        if fault.used >= fault.times or (self._having and self._having not in headers):
            return False
        if not (self._method.fullmatch(method) and self._key.search(key)):
            return False
        if fault.chance < 1.0 and self._dice.random() >= fault.chance:
            return False
        if fault.once_each:
            name = (method, key.partition("?")[0])
            if name in self._seen:
                return False
            self._seen.add(name)
        fault.used += 1
        return True


class Cap:
    """Lets at most `rate` requests begin in any one second, and `concurrency` be under way at once."""

    def __init__(self, rate: int | None, concurrency: int | None, method: str, retry_after: float | None):
        self.retry_after = retry_after
        self._rate = rate
        self._concurrency = concurrency
        self._method = re.compile(method)
        self._begun: deque[float] = deque()

    def refuses(self, method: str, now: float, under_way: int) -> bool:
        if not self._method.fullmatch(method):
            return False
        if self._concurrency is not None and under_way >= self._concurrency:
            return True
        if self._rate is not None:
            while self._begun and self._begun[0] <= now - 1.0:
                self._begun.popleft()
            if len(self._begun) >= self._rate:
                return True
            self._begun.append(now)
        return False


class Behaviour:
    """What the control endpoint sets, and what it reads back."""

    def __init__(self) -> None:
        self.latency = 0.0  # seconds added to each answer
        self.kms = False  # tags that look like an MD5 and are none
        self.conditions = "honour"  # of writes; or "ignore", or "refuse"
        self.tags = {"listed": "plain", "answered": "plain"}  # see `tag_as`
        self.page_size: int | None = None  # most entries of a page, however many were asked for
        self.odd_pages = False  # page tokens full of special characters
        self.anonymous = True  # whether requests without an access token of this server are taken
        self.keep_log = True
        self.cap: Cap | None = None
        self.expired: set[str] = set()
        self.faults: list[ActiveFault] = []
        self.log: list[tuple[float, str, str, int, bool]] = []
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.accepted: Counter[int] = Counter()
        self.under_way = 0
        self.most_under_way = 0

    def set(self, **settings: Any) -> None:
        """Sets what is named, as `Steered.set` lists it."""
        for name, value in settings.items():
            match name:
                case "latency_ms":
                    self.latency = float(value) / 1000
                case "kms":
                    self.kms = bool(value)
                case "conditions" if value in ("honour", "ignore", "refuse"):
                    self.conditions = value
                case "tags" if set(value) <= set(self.tags):
                    self.tags = {"listed": "plain", "answered": "plain"} | value
                case "page_size":
                    self.page_size = value
                case "odd_pages":
                    self.odd_pages = bool(value)
                case "anonymous":
                    self.anonymous = bool(value)
                case "log":
                    self.keep_log = bool(value)
                case "cap":
                    self.cap = None if value is None else _cap(**value)
                case _:
                    raise ValueError(f"no setting {name}: {value!r}")

    def add(self, fault: Fault) -> int:
        """A new rule; answers its number, by which its `used` is read back."""
        self.faults.append(ActiveFault(fault))
        return len(self.faults) - 1

    def clear(self) -> None:
        """Forgets all counts and rules; settings and expired keys stay."""
        self.faults.clear()
        self.log.clear()
        self.most_under_way = 0
        for counter in (self.counts, self.statuses, self.accepted):
            counter.clear()

    def take(self, method: str, key: str, headers: Mapping[str, str]) -> Fault | None:
        for active in self.faults:
            if active.takes(method, key, headers):
                return active.fault
        return None

    # -- tags and tokens as they are shown

    def tag_header(self, tag: str) -> dict[str, str]:
        shown = tag_as(tag, self.tags["answered"])
        return {"ETag": shown} if shown else {}

    def same_tag(self, given: str, tag: str) -> bool:
        """Whether the tag of a condition is this one. In capitals only where the store writes them so."""
        bare = given.strip('"')
        return bare in ("*", tag) or ("upper" in self.tags.values() and bare.lower() == tag.lower())

    def entries(self, asked: int) -> int:
        """How many entries a page gets for which so many were asked."""
        return asked if self.page_size is None else min(asked, self.page_size)

    def page_token(self, last: str) -> str:
        """Of the page that begins behind `last`."""
        token = base64.urlsafe_b64encode(last.encode()).decode()
        return token + _ODD if self.odd_pages else token

    def behind(self, token: str) -> str:
        """Where a page begins; ValueError for what is no token of this server."""
        if self.odd_pages and not token.endswith(_ODD):
            raise ValueError("no page token")
        return base64.urlsafe_b64decode(token.removesuffix(_ODD)).decode()

    def note(self, now: float, method: str, operation: str, key: str, status: int, done: bool) -> None:
        self.counts[operation] += 1
        self.statuses[status] += 1
        if done:
            self.accepted[int(now)] += 1
        if self.keep_log:
            self.log.append((now, method, key, status, done))

    def to_json(self) -> dict[str, Any]:
        return {
            "counts": self.counts,
            "statuses": self.statuses,
            "accepted": self.accepted,
            "most_under_way": self.most_under_way,
            "used": [active.fault.used for active in self.faults],
        }


def tag_as(tag: str, form: str) -> str:
    """A tag in quotes (plain), in capitals (upper), weak, without its quotes (bare), or not at all (none)."""
    match form:
        case "plain":
            return f'"{tag}"'
        case "upper":
            return f'"{tag.upper()}"'
        case "weak":
            return f'W/"{tag}"'
        case "bare":
            return tag
        case "none":
            return ""
    raise ValueError(f"no form of tags: {form}")


def _cap(
    rate: int | None = None,
    concurrency: int | None = None,
    method: str = ".*",
    retry_after: float | None = None,
) -> Cap:
    return Cap(rate, concurrency, method, retry_after)
