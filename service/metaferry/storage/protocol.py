"""The storage contract: the only way a byte enters or leaves metaferry.

Two protocols. An :class:`Adapter` is what each kind of store implements: single attempts, no
retries, foreign errors already turned into ours. A :class:`Storage` is what everybody else uses:
an adapter behind the one retry layer (`retry/storage.py`). Wrappers (faults, counters, dry run) stand
between the two and implement `Adapter` themselves.

Keys ("paths") are relative to the datasource, with `/` between segments, no leading slash, and
exact code points: nothing here normalises, quotes or decodes what a caller sees. Keys with empty,
`.` or `..` segments or control characters may appear in listings (they exist in real buckets) but
are refused by `lightly/names.py` before anything is written under them.

Every method is a coroutine and is called on one event loop; an adapter keeps one client, made on
first use on that loop and closed by `close()`. Nothing here creates or deletes a bucket.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from metaferry.errors import StorageError
from metaferry.lightly.key_limits import KeyLimits
from metaferry.storage.counts import RequestCounts
from metaferry.storage.rates import RateHistory
from metaferry.storage.waits import Drain


class OnlyIf(Enum):
    """Preconditions of a write that need no token."""

    ANYTHING = "anything"
    ABSENT = "absent"


ANYTHING: Final = OnlyIf.ANYTHING
ABSENT: Final = OnlyIf.ABSENT

#: What a write may require of what is there now: anything, nothing, or exactly this token.
Precondition = OnlyIf | str

#: Characters of a token that a header may have without being altered on its way.
_TOKEN: Final = re.compile(r"[!#-~]+")


def is_plain(only_if: Precondition) -> bool:
    """Whether a header can name this token."""
    return not isinstance(only_if, str) or _TOKEN.fullmatch(only_if) is not None


#: Path, data, precondition, and the hex MD5 of the data, of a put.
Put = tuple[str, bytes, Precondition, str]


class Entry(NamedTuple):
    """One object of a listing. A tuple: there are millions of them.

    `token` changes whenever the content is replaced: ETag (S3, Azure), generation (GCS),
    `size-mtime_ns-inode` on a local file system. It is opaque, and what `Precondition` takes.
    `md5` is the hex MD5 of the content where the listing *proves* it, else None. Where it is the
    token as well (S3), only equality proves anything: some tags look like an MD5 and are none.
    `mtime` is seconds since 1970, UTC, as the store tells it.
    """

    path: str
    size: int
    token: str
    md5: str | None
    mtime: float


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing. `cursor` is opaque; None after the last page. `left_out` counts what the store
    named besides the entries: folder markers, and what comes before the key to start after."""

    entries: list[Entry]
    cursor: Any | None
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Blob:
    """The bytes of one ranged read, and what they are part of: version and size of the whole object."""

    data: bytes
    token: str
    size: int


class PutResult(NamedTuple):
    """What a put left behind. `md5` (hex) is the store's own word where it gives one, else ours."""

    token: str
    md5: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do; fixed for an adapter, except where a run finds out otherwise.

    listing_md5: listings prove the content of small objects written by one plain put, so an
        unchanged document is recognised without reading it (and no ledger is needed).
    conditional: `only_if` is honoured by the store itself. Where false, it is best effort
        (checked just before), and the run says so.
    replaces: so is a token as `only_if`; where false, only ABSENT is, and the run says so too.
    lists_tokens: listings show the tokens that puts answer with, and that `only_if` takes.
    atomic: nobody ever sees a part of a put. False only for file systems without a rename.
    remote: what one process writes, another one sees. False for memory.
    one_loop: the client is a pure Python one on an event loop, which one core keeps busy: several
        processes write faster.
    own_clock: `Entry.mtime` is when the store got the put, by the store's clock, whoever sent it. On a
        mounted file system it can be the clock of the machine that wrote.
    conditions_vary: some stores behind this protocol take a condition and ignore it, without a word;
        `Retrying.probe_conditions` finds out.
    start_key: a listing may begin after any string for the price of one that begins at the first key,
        and is then the rest of the whole. What is built on it notices a store that does otherwise.
    key_limits: how long a key below the datasource may be, as far as that is known.
    """

    listing_md5: bool
    conditional: bool
    atomic: bool = True
    remote: bool = True
    one_loop: bool = False
    own_clock: bool = False
    conditions_vary: bool = False
    start_key: bool = False
    key_limits: KeyLimits = KeyLimits()  # noqa: RUF009 - frozen
    replaces: bool = True
    lists_tokens: bool = True

    def honours(self, only_if: Precondition) -> bool:
        """Whether the store itself checks this condition of a write."""
        return only_if is ANYTHING or (self.conditional and (only_if is ABSENT or self.replaces))


@runtime_checkable
class Adapter(Protocol):
    """One datasource, single attempts. Raises `errors.StorageError` subclasses and nothing else."""

    @property
    def url(self) -> str:
        """The datasource as a URL for people and logs: no credentials, no options."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        """One page of the keys that begin with `prefix` (any string, not only a folder).

        Pages come in the store's own order, without gaps and without repeats, and hold at most a
        few thousand entries, so memory is bounded by a page. Folder markers (`dir/`, size 0) and
        our own temporary files are left out. `start_after` skips keys up to and including it in
        byte order, on stores that list in byte order (S3, GCS, Azure, local, memory); others may
        raise `Unsupported`. `cursor` is the previous page's; a page that failed is asked again
        with the same cursor. A missing bucket is `NotFound` with an empty path; a missing
        folder on a local file system too; a prefix without keys is one empty page.
        """

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        """The bytes `[start, end)`, one request; `end` None reads to the end, and past it is cut.

        An empty range (start at or past the size) gives `b""` where the store allows the question.
        With `version` (a token) the bytes are of that version or `Changed` is raised; without it
        the answer names the version it came from, so that the next read can be pinned. A short or
        overlong answer is `Corrupt`. A missing object is `NotFound` with its path.
        """

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        """Writes the whole object or nothing; nobody ever sees a part of it.

        `only_if` other than ANYTHING raises `Conflict` when the store holds something else. The
        store's own checksum of what it received is compared with ours where it gives one
        (`Corrupt` when they differ). Content type: `application/json` for `.json`.
        """

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        """Deletes one object; deleting what is gone is success, whatever `only_if` says.

        With a token, `Conflict` is raised when the object is another version; ABSENT is `Unsupported`.
        """

    async def close(self) -> None:
        """Lets go of connections; safe to call twice."""


@dataclass(frozen=True, slots=True)
class Level:
    """What lies directly below a prefix: keys, and the folders (whole, with a `/` at the end)."""

    entries: list[Entry]
    folders: list[str]


@runtime_checkable
class Levelled(Protocol):
    """An adapter that can say what folders there are, so that they can be listed at once."""

    async def list_level(self, prefix: str) -> Level | None:
        """One request. None where the level does not fit into one page.

        Every key below `prefix` is one of the entries, or begins with one of the folders.
        """


@runtime_checkable
class Direct(Protocol):
    """An adapter whose puts can also be made from plain threads, without an event loop.

    A put of a few hundred bytes costs the client less as a blocking call that leaves the
    interpreter lock than as a task on a loop (docs/storage.md), so writing many small documents
    goes this way where there is one.
    """

    def put_blocking(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        """As `Adapter.put`: one attempt, the same errors. Blocks; called from many threads at once.

        It ends by itself: the adapter bounds the time of an attempt.
        """


@runtime_checkable
class Batched(Direct, Protocol):
    """A direct adapter that makes a few puts with as little as can be between two requests.

    Every microsecond that a thread holds the interpreter lock between two requests is waited for by
    all other threads.
    """

    def put_batch(
        self, puts: Sequence[Put], *, ended: Callable[[], bool]
    ) -> Sequence[str | StorageError | None]:
        """`put_blocking` of each, one after the other: what became of it, its token where it went well.

        None was not tried: `ended`, which is asked before each, said that no further one may be
        made, or a put before it met Throttled or Expired.
        """


class Storage(Protocol):
    """An adapter behind the retry layer: what gather, plan and apply work with."""

    @property
    def url(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def requests(self) -> RequestCounts: ...

    @property
    def rates(self) -> RateHistory:
        """Answers and refusals over time."""

    def writes_while(self, ours: Callable[[], bool]) -> None:
        """No put or delete is tried again once `ours` is false: a retry whose wait spans the loss of
        a lease would write into another run's work. `Unsupported` is raised instead."""

    def drained_by(self, drain: Drain | None) -> None:
        """From now on `drain` ends what waits here, and lists and reads: `Deferred` is raised. None:
        nothing does. What is `urgent` is left alone."""

    @property
    def timeout(self) -> float:
        """Seconds without one write that went well after which going on is of no use: twice the time
        that one request is retried for, or that ten need under `max_rate`."""

    def absorb(self, requests: RequestCounts, rates: RateHistory) -> None:
        """Counts what other processes asked of the same datasource as if it had gone through here."""

    @property
    def direct(self) -> bool:
        """Whether `put_blocking` may be used: there is a `Direct` adapter behind."""

    @property
    def concurrency_limit(self) -> int:
        """Requests that the pace allows to be under way now; as many threads are worth having."""

    def list(self, prefix: str = "", *, start_after: str | None = None) -> AsyncIterator[list[Entry]]:
        """Every key below `prefix`, a page at a time; a page that fails is retried, none is skipped."""

    async def list_level(self, prefix: str) -> Level | None:
        """As the adapter's, retried; None too where the adapter cannot."""

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob: ...

    async def put(
        self,
        path: str,
        data: bytes,
        *,
        only_if: Precondition = ANYTHING,
        failed: StorageError | None = None,
    ) -> PutResult:
        """As the adapter's, retried. A reply that was lost is settled by reading back: equal bytes
        under our own precondition are our own put, never reported as a conflict with ourselves.

        `failed` is what the attempt of `put_blocking` met; this goes on as if it had made that attempt.
        """

    def put_blocking(
        self, puts: Sequence[Put], *, ended: Callable[[], bool] = lambda: False
    ) -> Sequence[str | StorageError | None]:
        """One blocking attempt at each of a few puts, one after the other, from a plain thread.

        What became of each, in order: its token where it went well. None was not tried, since some
        time has to pass before, or since `ended`, which is asked before each, says that no further
        one may be made. An error, retryable or not, is for `put(…, failed=error)` to settle.
        """

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None: ...

    async def close(self) -> None: ...
