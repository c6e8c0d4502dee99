"""Reads the facts of many files through the storage contract, from the cache where they are known.

Files come in the order of their paths, and so do the answers, a batch at a time: the next batch is read while
one is used, and memory holds the two. Every file has an answer; errors that concern every file are raised.
Nothing is written but the cache.
"""

from __future__ import annotations

import contextlib
import logging
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import pyarrow as pa

from metaferry.errors import Changed, Corrupt, NotFound, Protected, Unsupported
from metaferry.media.facts.cache import FactsCache
from metaferry.media.facts.model import FactsKind, FileFacts, Found, Listed, Unreadable
from metaferry.media.facts.rows import AT, answer_schema, as_rows
from metaferry.media.frames.containers.reading import Asking, Range
from metaferry.media.frames.ranges import Head, Ranges, Reads
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Blob, Storage

log = logging.getLogger(__name__)

#: Files that are read at a time, at most: each holds a few ranges of at most 128 KiB.
_MOST_THREADS: Final = 64
#: Files that a thread takes at once: their first ranges are asked for together.
_SHARE: Final = 8
#: Bytes of a first range that is asked for together with those of others.
_MOST_HEAD: Final = 256 << 10
#: Seconds that one file may take.
_DEADLINE: Final = 600.0
#: Seconds between two looks at whether the answers are still wanted.
_LOOK: Final = 0.5
#: What a parser raises where a structure ends within a number, in a place that is not checked.
_DAMAGED: Final = (struct.error, LookupError, ValueError, ArithmeticError, RecursionError)

#: Called with the numbers of files and of bytes that were read; what it raises ends the reading.
Progress = Callable[[int, int], None]

#: A generator that has begun, and the ranges that it asks for first.
_Begun: TypeAlias = tuple[Asking[Found], list[Range]]
#: What was read together with others: bytes, why there are none, or None where it is to be read alone.
_Read: TypeAlias = Blob | BaseException | None


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch under way: its rows from the cache, and the files that are read, with their positions."""

    known: pa.Table
    read: Sequence[tuple[Sequence[int], Future[list[FileFacts]]]]


def read_facts(
    storage: Storage,
    portal: Portal,
    kind: FactsKind,
    batches: Iterable[pa.RecordBatch],
    *,
    cache: FactsCache | None,
    progress: Progress,
) -> Iterator[pa.Table]:
    """The facts of the files of each batch (`path`, `size`, `token`), as `rows.answer_schema` has them.

    The rows of one batch are one table, in no order. Batches are ordered by path over all of them: one that
    is not costs what the cache would have saved.

    Raises StorageError for what concerns every file, and what `progress` raises.
    """
    reader = _Reader(storage, portal, kind)
    under_way: deque[_Batch] = deque()
    try:
        for batch in batches:
            progress(0, 0)
            under_way.append(_begin(reader, kind, batch, cache))
            if len(under_way) > 1:
                yield _end(under_way.popleft(), kind, cache, progress)
        while under_way:
            yield _end(under_way.popleft(), kind, cache, progress)
    except BaseException:
        reader.stop()
        raise
    else:
        if cache is not None:
            cache.complete()
    finally:
        reader.close()
        if cache is not None:
            cache.save()


def _begin(reader: _Reader, kind: FactsKind, batch: pa.RecordBatch, cache: FactsCache | None) -> _Batch:
    """Looks a batch up in the cache, and has threads read what is not there."""
    known = answer_schema(kind).empty_table() if cache is None else cache.find(batch)
    there = set(known.column(AT).to_pylist())
    columns = [batch.column(name).to_pylist() for name in ("path", "size", "token")]
    left = [(at, file) for at, file in enumerate(zip(*columns, strict=True)) if at not in there]
    shares = [left[first : first + _SHARE] for first in range(0, len(left), _SHARE)]
    return _Batch(
        known, [([at for at, _ in share], reader.start([file for _, file in share])) for share in shares]
    )


def _end(batch: _Batch, kind: FactsKind, cache: FactsCache | None, progress: Progress) -> pa.Table:
    """The answers of a batch, once all are there; what was read goes into the cache."""
    positions: list[int] = []
    files: list[FileFacts] = []
    for share, future in batch.read:
        while wait([future], _LOOK).not_done:
            progress(0, 0)
        found = future.result()
        progress(len(found), sum(file.received for file in found))
        positions += share
        files += found
    progress(batch.known.num_rows, 0)
    read = as_rows(kind, positions, files)
    if cache is not None:
        kept = [file.settled and bool(file.token) for file in files]
        cache.add(read.filter(pa.array(kept, pa.bool_())), batch.known)
    return pa.concat_tables([batch.known, read])


class _Reader:
    """Reads files by threads, a share of them at once."""

    def __init__(self, storage: Storage, portal: Portal, kind: FactsKind) -> None:
        self._storage = storage
        self._kind = kind
        self._reads = Reads(storage, portal)
        self._ended = threading.Event()
        threads = max(_SHARE, min(_MOST_THREADS, storage.concurrency_limit))
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="metaferry-facts")

    def start(self, share: Sequence[Listed]) -> Future[list[FileFacts]]:
        """Has a thread read a share."""
        return self._threads.submit(self._read_share, share)

    def stop(self) -> None:
        """Ends the reads under way, and begins no more."""
        self._ended.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._reads.stop()

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _read_share(self, share: Sequence[Listed]) -> list[FileFacts]:
        """The facts of some files, whose first ranges are asked for together."""
        asked = [self._first(size) for _, size, _ in share]
        heads: list[_Read] = [None] * len(share)
        together = [
            (n, (share[n][0], begun[1][0][1], share[n][2] or None))
            for n, begun in enumerate(asked)
            if begun is not None and _is_head(begun[1])
        ]
        for (n, _), head in zip(together, self._heads([one for _, one in together]), strict=True):
            heads[n] = head
        return [self._read(file, begun, head) for file, begun, head in zip(share, asked, heads, strict=True)]

    def _heads(self, files: Sequence[Head]) -> Sequence[_Read]:
        """The beginnings of files: by this thread where it may, which costs a part of what the loop does."""
        if not files:
            return ()
        if self._storage.reads_directly:
            ends = [(path, end) for path, end, _ in files]
            return self._storage.read_blocking(ends, ended=self._ended.is_set)
        return self._reads.heads(files, _DEADLINE)

    def _first(self, size: int) -> _Begun | None:
        """A generator for a file of this size; None for an empty one."""
        if size <= 0:
            return None
        asking = self._kind.read(size)
        return asking, next(asking)

    def _read(self, file: Listed, begun: _Begun | None, head: _Read) -> FileFacts:
        """The facts of one file, of the version that is there."""
        path, size, token = file
        try:
            try:
                return self._read_version(file, begun, head)
            except Changed:
                log.debug("%s was replaced since it was listed; the newer version is read", path)
                now = self._reads.now(path)
                newer = (path, now.size, now.token)
                found = self._read_version(newer, self._first(now.size), None)
                return replace(found, received=found.received + len(now.data))
        except Changed:
            reason = "it is replaced again and again"
        except NotFound as error:
            if not error.path:  # the whole datasource, not one file
                raise
            reason = "it is gone"
        except (Corrupt, Protected, Unsupported) as error:
            reason = str(error)
        except TimeoutError:
            reason = f"it could not be read within {_DEADLINE:.0f} s"
        return FileFacts(path, size, token, None, reason, settled=False)

    def _read_version(self, file: Listed, begun: _Begun | None, head: _Read) -> FileFacts:
        path, size, token = file
        if begun is None:
            if size < 0:  # not known: the version that is there tells
                raise Changed(f"the size of {path} was not listed", path=path)
            return FileFacts(path, size, token, None, "it is empty")
        if isinstance(head, BaseException):
            begun[0].close()
            raise head
        if head is not None and (head.size, head.token) != (size, token):
            head = None  # the listing is older, or names no version: a pinned read tells
        asking, wanted = begun
        with contextlib.ExitStack() as turns, contextlib.closing(asking):
            ranges = Ranges(self._reads, path, size, token or None, time.monotonic() + _DEADLINE, turns)
            received = 0 if head is None else len(head.data)
            parts = ranges.fetch(wanted) if head is None else [head.data]
            while isinstance(answer := _sent(asking, parts, path), list):
                parts = ranges.fetch(answer)
            received += ranges.received
        if isinstance(answer, Found):
            problem = "; ".join(answer.problems)
            return FileFacts(path, size, token, answer.values, problem=problem, received=received)
        return FileFacts(path, size, token, None, answer, received=received)


def _sent(asking: Asking[Found], parts: list[bytes], path: str) -> list[Range] | Found | str:
    """What a generator makes of its ranges: it asks for more, or has found what there is; or the reason why
    the file cannot be read."""
    try:
        return asking.send(parts)
    except StopIteration as done:
        found: Found = done.value
        return found
    except Unreadable as error:
        return str(error)
    except _DAMAGED as error:
        log.debug("%s", path, exc_info=True)
        return f"its structure is damaged ({type(error).__name__})"


def _is_head(wanted: Sequence[Range]) -> bool:
    """Whether the first ranges are one, at the beginning of the file."""
    return len(wanted) == 1 and wanted[0][0] == 0 and wanted[0][1] <= _MOST_HEAD
