"""Every error metaferry raises on purpose, and the one map from an error to an exit code.

A caller who catches :class:`MetaferryError` catches all of them. The tree::

    MetaferryError                     exit 1 unless a line below says otherwise
    ├── UsageError                     2    the call itself cannot be understood
    │   └── JobError                   2    the job file, with the place in it
    ├── TableMissing                   1    a table that is not there, or not yet; another run may find it
    ├── SchemaError                    1    a schema.json that is not one, with line and column
    ├── ScratchFull                    1    the disk of the scratch folder has no room left
    ├── SafetyStop                     5    a limit of the policy stopped the run before its first write
    ├── ShardsMissing                  1    `finish` came before every shard of the plan was done
    ├── LeaseHeld                      11   another run is writing to this datasource
    ├── LeaseLost                      11   another run may write to it by now; this one stopped
    ├── Outage                         3    the store took no document any more; the rest is deferred
    ├── Interrupted                    130 or 143, after a drain; the next run goes on
    └── StorageError                   1    one of the closed list below; `retryable` says what to do
        ├── Throttled                  the store asks for less (429, 503 SlowDown); retryable
        ├── Unavailable                5xx, time-outs, broken connections; retryable
        ├── Denied                     the credentials are known and may not do this; stops the run, unless
        │                              others are written meanwhile: then it is this one object's
        ├── Protected                  this one object is held, retained, leased or archived
        ├── Expired                    the credentials are no longer valid; refreshed once, then stops the run
        ├── NotFound                   no such object, bucket or container
        ├── Conflict                   a precondition on a write failed: somebody else wrote
        ├── Changed                    the object was replaced while it was being read
        ├── Corrupt                    bytes arrived that are not the bytes that were sent, or an answer
        │                              that is not whole; retryable
        ├── Inconsistent               a listing contradicts itself; it is made again as a whole
        └── Unsupported                this store cannot do what was asked

Messages are one sentence for a person: what happened, where, what was expected. `advice` is what
to do about it. Neither ever holds a credential: adapters build them from status and code, never
from the text of a foreign exception that may quote a signed URL.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from os import PathLike
from typing import ClassVar


class MetaferryError(Exception):
    """The root of the tree. `str(error)` is the message; `advice` may be empty.

    `run_id` and `report_url` are those of the run that it ended; "" where it ended none, or none was left.
    """

    exit_code: ClassVar[int] = 1
    run_id: str = ""
    report_url: str = ""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice

    @property
    def message(self) -> str:
        return str(self.args[0])


class UsageError(MetaferryError):
    """The command line or the arguments of a library call make no sense."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class JobFault:
    """One fault of a job: the steps to its key, the line in the file (0 where there is none), and why."""

    key: tuple[str | int, ...]
    line: int
    message: str


class JobError(UsageError):
    """The job file (or a `--set` over it) is wrong. `place` is file, line and key as far as known.

    `faults` are all of them one by one, where they were found in reading the job.
    """

    def __init__(
        self, message: str, *, place: str = "", advice: str = "", faults: tuple[JobFault, ...] = ()
    ) -> None:
        super().__init__(f"{place}: {message}" if place else message, advice=advice)
        self.place = place
        self.faults = faults


class TableMissing(MetaferryError):
    """A table, its bucket, or every match of a glob is not there: it may come, so a retry makes sense.

    `place` is the key of the job file. A local file that the job names and that is not there is a
    JobError: nobody is about to put it there.
    """

    def __init__(self, message: str, *, place: str = "", advice: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message, advice=advice)
        self.place = place


class SchemaError(MetaferryError):
    """A schema.json that the consumer would refuse; the message names line and column, or the entry."""


class ScratchFull(MetaferryError):
    """The disk of the scratch folder has no room left. What was written by then is whole, and no more is."""

    def __init__(self, scratch: PathLike[str] | str) -> None:
        super().__init__(
            f"the disk of the scratch folder {scratch} is full",
            advice="free space there, or name another folder (scratch: /path in the job file), and run again",
        )


class SafetyStop(MetaferryError):
    """A limit of the policy was passed (`max_rejects`, `max_delete`, `min_used`, `min_coverage`), or
    `existing` or `allow_empty` forbids what was planned. Nothing was written or deleted.
    """

    exit_code = 5


class ShardsMissing(MetaferryError):
    """Not every shard of a plan is done. `shards` are the numbers of those that are not."""

    def __init__(self, message: str, *, shards: tuple[int, ...] = (), advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.shards = shards


class LeaseHeld(MetaferryError):
    """Another run holds the lease of this datasource."""

    exit_code = 11


class LeaseLost(MetaferryError):
    """This run's lease ended while it was under way. It has written nothing since it noticed."""

    exit_code = 11


class Outage(MetaferryError):
    """The store takes no document any more; what is left is for the next run."""

    exit_code = 3

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"{url}: no document is written any more: {reason}; the rest is left for the next run",
            advice="run it again when the store is well: it does exactly what is missing",
        )
        self.url, self.reason = url, reason

    def __reduce__(self) -> tuple[type[Outage], tuple[str, str]]:
        return type(self), (self.url, self.reason)


class Interrupted(MetaferryError):
    """A signal stopped the run; what was under way has been drained."""

    def __init__(self, signal: int) -> None:
        super().__init__(
            "the run was interrupted and has been drained",
            advice="run it again: it goes on where this one stopped",
        )
        self.signal = signal


class Scope(Enum):
    """Whom an error of a store concerns.

    OBJECT: the one object of the request. ALL: whoever asks, whatever for. EITHER: the answer does not
    tell: a policy on a prefix and a right that is missing altogether have the same words.
    """

    OBJECT = "object"
    EITHER = "either"
    ALL = "all"


class StorageError(MetaferryError):
    """Something a store answered, or failed to answer.

    `url` is the datasource (without credentials), `path` the key below it, "" where the whole
    datasource is meant. `status` and `code` are the store's own words (HTTP status, error code).
    """

    retryable: ClassVar[bool] = False
    #: Whom it concerns; as a rule the kind tells.
    scope: Scope = Scope.OBJECT
    #: Whether the same request will meet it again, until somebody does something about this one object.
    lasting: bool = False

    def __init__(
        self,
        message: str,
        *,
        url: str = "",
        path: str = "",
        status: int | None = None,
        code: str = "",
        advice: str = "",
    ) -> None:
        super().__init__(message, advice=advice)
        self.url = url
        self.path = path
        self.status = status
        self.code = code


class Throttled(StorageError):
    """The store asks for a lower rate. `retry_after` is what it asked for, in seconds, if it did."""

    retryable = True
    retry_after: float | None = None


class Unavailable(StorageError):
    """A passing failure: 5xx, a time-out, a connection that broke."""

    retryable = True


class Denied(StorageError):
    """The store knows who asks and refuses; or the credentials themselves are refused.

    `generation` as of `Expired`.
    """

    scope = Scope.ALL
    generation: int | None = None


class Protected(StorageError):
    """This one object may not be read or changed as it is: it is held, retained, leased or archived."""

    lasting = True


class Expired(StorageError):
    """The credentials have run out (or the clock of this machine is wrong: `code` tells).

    `generation` counts the renewals before the refused attempt, so that one renewal serves all
    requests that were refused together.
    """

    scope = Scope.ALL
    generation: int | None = None


class NotFound(StorageError):
    """There is no such object, bucket or container. `path` is "" when it is the bucket."""

    scope = Scope.ALL


class Conflict(StorageError):
    """A conditional write found something else than it was told to expect."""


class Changed(StorageError):
    """The object is no longer the version that was asked for."""


class Corrupt(StorageError):
    """What arrived is not what was sent: a checksum or a length is wrong."""

    retryable = True


class Inconsistent(StorageError):
    """The pages of a listing contradict each other, so nothing that it gave counts."""


class Unsupported(StorageError):
    """The store, or its adapter, cannot do this at all."""


def exit_code(error: BaseException) -> int:
    """The exit code of a process that ends with this error; the only place that decides it."""
    if isinstance(error, Interrupted):
        return 128 + error.signal
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, MetaferryError):
        return error.exit_code
    return 1
