"""The storage contract: the only way a byte enters or leaves metaferry.

Two protocols. An :class:`Adapter` is what each kind of store implements: single attempts, no
retries, errors of libraries turned into ours. A :class:`Storage` is what the rest of the program uses:
an adapter behind the one retry layer (`retry/storage.py`). Wrappers (faults, counters, dry run) stand
between the two and implement `Adapter` themselves.

Keys ("paths") are relative to the datasource, with `/` between segments, no leading slash, and
exact code points: nothing here normalises, quotes or decodes them. Keys with empty,
`.` or `..` segments or control characters may appear in listings (they exist in real buckets) but
are refused by `lightly/names.py` before anything is written under them.

Every method is a coroutine and is called on one event loop; an adapter keeps one client, made on
first use on that loop and closed by `close()`. Nothing here creates or deletes a bucket.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from metaferry.errors import StorageError
from metaferry.lightly.key_limits import KeyLimits
from metaferry.storage.counts import RequestCounts
from metaferry.storage.facts.model import NO_FACTS, Described, Fact, ObjectFacts
from metaferry.storage.rates import RateHistory
from metaferry.storage.waits import Drain


class OnlyIf(Enum):
    """Preconditions of a write that need no token."""

    ANYTHING = "anything"
    ABSENT = "absent"


ANYTHING: Final = OnlyIf.ANYTHING
ABSENT: Final = OnlyIf.ABSENT

#: What a write requires of the object in place: anything, none, or exactly this token.
Precondition = OnlyIf | str

#: Characters of a token that a header carries unaltered.
_TOKEN: Final = re.compile(r"[!#-~]+")


def is_plain(only_if: Precondition) -> bool:
    """Whether a header can carry this precondition."""
    return not isinstance(only_if, str) or _TOKEN.fullmatch(only_if) is not None


#: A put: path, data, precondition, and the hex MD5 of the data.
Put = tuple[str, bytes, Precondition, str]


class Entry(NamedTuple):
    """One object of a listing. A tuple: there are millions of them.

    `token` changes whenever the content is replaced: ETag (S3, Azure), generation (GCS),
    `size-mtime_ns-inode` on a local file system. It is opaque, and what `Precondition` takes.
    `md5` is the hex MD5 of the content where the listing *proves* it, else None. Where it is the
    token as well (S3), only equality proves anything: some tags look like an MD5 and are none.
    `mtime` is seconds since 1970, UTC, by the store.
    """

    path: str
    size: int
    token: str
    md5: str | None
    mtime: float


class DescribedEntry(Entry):
    """An entry with what its listing says besides; see `ObjectFactReader.list_facts`. `_replace` and `_make`
    lose that."""

    facts: ObjectFacts = NO_FACTS

    @classmethod
    def of(cls, entry: Entry, facts: ObjectFacts) -> DescribedEntry:
        """The same entry with its facts."""
        described = cls(*entry)
        described.facts = facts
        return described


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing. `cursor` is opaque; None after the last page. `left_out` counts what the store
    listed besides the entries: folder markers, and keys before the start key."""

    entries: list[Entry]
    cursor: Any | None
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Blob:
    """The bytes of one ranged read, with version and size of the whole object."""

    data: bytes
    token: str
    size: int


class PutResult(NamedTuple):
    """The result of a put. `md5` (hex) is the store's where it returns one, else ours."""

    token: str
    md5: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do; fixed for an adapter, except where a run detects otherwise.

    listing_md5: listings prove the content of small objects written by one plain put, so an
        unchanged document is recognised without reading it (and no ledger is needed).
    conditional: `only_if` is honoured by the store itself. Where false, it is best effort
        (checked just before the write), and the run reports it.
    replaces: a token as `only_if` is honoured; where false, only ABSENT is, and the run reports it.
    lists_tokens: listings show the tokens that puts return and `only_if` takes.
    atomic: a partial put is never visible. False only for file systems without a rename.
    remote: other processes see the same objects. False for memory.
    one_loop: the client is pure Python on an event loop, and limited by one core: several processes
        write faster.
    own_clock: `Entry.mtime` is the time of the put by the store's clock. On a mounted file system it can
        be the clock of the machine that wrote.
    conditions_vary: some stores behind this protocol silently ignore conditions;
        `Retrying.probe_conditions` detects them.
    start_key: a listing may begin after any string at the cost of one that begins at the first key, and
        is then the rest of the whole. The parallel listing detects a store that does otherwise.
    key_limits: how long a key below the datasource may be, as far as that is known.
    delete_looks: a delete under a token looks at the object first, which is one more request.
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
    delete_looks: bool = False

    def honours(self, only_if: Precondition) -> bool:
        """Whether the store itself checks this precondition."""
        return only_if is ANYTHING or (self.conditional and (only_if is ABSENT or self.replaces))


@runtime_checkable
class Adapter(Protocol):
    """One datasource, single attempts. Raises `errors.StorageError` subclasses and nothing else."""

    @property
    def url(self) -> str:
        """The datasource as a URL for messages and logs: no credentials, no options."""

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
        raise `Unsupported`. `cursor` is the previous page's; a page that failed is requested
        again with the same cursor. A missing bucket is `NotFound` with an empty path; a missing
        folder on a local file system too; a prefix without keys is one empty page.
        """

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        """The bytes `[start, end)` in one request; `end` None reads to the end, and one past it is cut.

        An empty range (start at or past the size) gives `b""` where the store allows such a request.
        With `version` (a token) the bytes are of that version or `Changed` is raised; without it
        the blob has the version it came from, so that the next read can be pinned. A short or overlong
        answer is `Corrupt`. A missing object is `NotFound` with its path.
        """

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        """Writes the whole object or nothing; a partial object is never visible.

        `only_if` other than ANYTHING raises `Conflict` when the object in place is another. The
        store's own checksum of what it received is compared with ours where it returns one
        (`Corrupt` when they differ). Content type: `application/json` for `.json`.
        """

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        """Deletes one object; deleting a missing object succeeds, whatever `only_if` is.

        With a token, `Conflict` is raised when the object is another version; ABSENT is `Unsupported`.
        """

    async def close(self) -> None:
        """Closes connections; safe to call twice."""


@dataclass(frozen=True, slots=True)
class Level:
    """Keys and folders directly below a prefix; a folder is its whole path, with a `/` at the end."""

    entries: list[Entry]
    folders: list[str]


@runtime_checkable
class Levelled(Protocol):
    """An adapter that can list the folders of a level, so that they can be listed in parallel."""

    async def list_level(self, prefix: str) -> Level | None:
        """One request; None where the level does not fit into one page.

        Every key below `prefix` is one of the entries, or begins with one of the folders.
        """


@runtime_checkable
class Direct(Protocol):
    """An adapter whose puts can also be made from plain threads, without an event loop.

    A put of a few hundred bytes costs the client less as a blocking call that releases the interpreter
    lock than as a task on a loop (docs/storage.md), so many small documents are written this way where
    the adapter supports it.
    """

    def put_blocking(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        """As `Adapter.put`: one attempt, the same errors. Blocks; called from many threads in parallel.

        The adapter bounds the time of an attempt.
        """


@runtime_checkable
class Batched(Protocol):
    """An adapter that makes a batch of puts from a plain thread, with minimal work between two requests.

    All other threads wait while a thread holds the interpreter lock between two requests.
    """

    def put_batch(
        self, puts: Sequence[Put], *, ended: Callable[[], bool]
    ) -> Sequence[str | StorageError | None]:
        """One attempt at each put in order: its token, or its error.

        None for a put that `Adapter.put` has to make: it takes another client, or was not tried, since
        `ended()`, which is called before each, was true, or a put before it raised Throttled or Expired. Each
        request ends within a minute.
        """


@runtime_checkable
class BatchReader(Protocol):
    """An adapter that reads a batch of small objects from a plain thread, for the reason of `Direct`."""

    def read_batch(
        self, reads: Sequence[tuple[str, int]], *, ended: Callable[[], bool]
    ) -> Sequence[Blob | None]:
        """One attempt at the first bytes of each object, at most as many as are named (1 or more).

        None for one that `Adapter.read` has to read, whatever the reason. Blocks, until `ended()` at most.
        """


class ObjectFactReader(Protocol):
    """What a storage knows of objects besides their bytes: `Describing` of its adapter, retried."""

    @property
    def listed(self) -> frozenset[Fact]:
        """As `Describing.listed_facts`; nothing where the adapter knows no facts."""

    @property
    def can_describe(self) -> bool:
        """Whether `describe` can be asked."""

    @property
    def has_tags(self) -> bool:
        """Whether `tags` can be asked."""

    def list_facts(self, *, tags: bool) -> None:
        """As the adapter's; nothing where it cannot."""

    async def describe(self, path: str) -> Described: ...

    async def tags(self, path: str) -> Mapping[str, str]: ...


class Storage(Protocol):
    """An adapter behind the retry layer: what gather, plan and apply work with."""

    @property
    def url(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def requests(self) -> RequestCounts: ...

    @property
    def facts(self) -> ObjectFactReader:
        """What it knows of objects besides their bytes."""

    @property
    def rates(self) -> RateHistory:
        """Answers and throttled requests over time."""

    def writes_while(self, ours: Callable[[], bool]) -> None:
        """No put or delete is retried once `ours()` is false (`Unsupported` is raised instead): a retry
        after the loss of a lease would write into another run's work."""

    def drained_by(self, drain: Drain | None) -> None:
        """From now on `drain` ends waits, lists and reads, which raise `Deferred`; None: nothing does.
        `urgent` requests are exempt."""

    @property
    def timeout(self) -> float:
        """Seconds without a successful write after which the store counts as down: twice the time for
        which one request is retried, or the time of ten requests under `max_rate`, if that is longer."""

    def absorb(self, requests: RequestCounts, rates: RateHistory) -> None:
        """Adds the requests of other processes to the same datasource to the counts of this one."""

    @property
    def direct(self) -> bool:
        """Whether `put_blocking` may be used: there is a `Direct` or a `Batched` adapter behind."""

    @property
    def concurrency_limit(self) -> int:
        """Requests that may be under way now; a useful number of threads."""

    def list(self, prefix: str = "", *, start_after: str | None = None) -> AsyncIterator[list[Entry]]:
        """Every key below `prefix`, a page at a time; a page that fails is retried, none is skipped."""

    async def list_level(self, prefix: str) -> Level | None:
        """As the adapter's, retried; None also where the adapter cannot."""

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

        `failed` is the error of an attempt by `put_blocking`, which then counts as the first attempt.
        """

    def put_blocking(
        self, puts: Sequence[Put], *, ended: Callable[[], bool] = lambda: False
    ) -> Sequence[str | StorageError | None]:
        """One blocking attempt at each of a batch of puts, in order, from a plain thread.

        Each result is a token, or an error, which `put(…, failed=error)` settles, retryable or not; or
        None for a put that `put` has to make: a thread cannot make it, or did not try it,
        during a pause or under `max_rate`, or because `ended()`, which is called before each, was true.
        """

    @property
    def reads_directly(self) -> bool:
        """Whether `read_blocking` may read anything: there is a `BatchReader` behind, and no drain."""

    def read_blocking(
        self, reads: Sequence[tuple[str, int]], *, ended: Callable[[], bool]
    ) -> Sequence[Blob | None]:
        """One attempt at a batch of reads, as `BatchReader.read_batch`, from a plain thread. None for each
        that `read` has to make: it failed, or was not tried, during a pause or under `max_rate`."""

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None: ...

    async def close(self) -> None: ...
