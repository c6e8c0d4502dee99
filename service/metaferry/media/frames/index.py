"""Counts one video from the index of its container: the first and cheapest level.

Reads through a function that fetches ranges. The parsers are pure and run in this process: nothing of
the media is decoded. Whatever a file holds, the result is an `Indexed` or a `NoProof`, within the budgets
of `reading.py`.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from typing import TypeVar

from metaferry.media.frames.containers import avi, matroska
from metaferry.media.frames.containers.mp4 import index as mp4
from metaferry.media.frames.containers.reading import (
    Asking,
    Indexed,
    NoProof,
    Range,
    Source,
    first_range,
)
from metaferry.media.frames.containers.sniff import Container, container_of

#: Fetches ranges of one version of the video, at once where it can.
Fetch = Callable[[list[Range]], list[bytes]]

T = TypeVar("T")

_READERS = {"mp4": mp4.count, "avi": avi.count, "matroska": matroska.count}


def open_source(size: int, fetch: Fetch) -> tuple[Source, Container | None]:
    """The head of a video of `size` bytes, read, and the container it is."""
    [head] = fetch([(0, first_range(size))])
    return Source(size, head), container_of(head)


def count(source: Source, container: Container | None, fetch: Fetch, *, times: bool = False) -> Indexed:
    """N as its index proves it. Raises `NoProof`, and what `fetch` raises."""
    return run(read_index(source, container, times=times), fetch)


def read_index(source: Source, container: Container | None, *, times: bool) -> Asking[Indexed]:
    """`count` as a reader, which requests its ranges."""
    if container is None:
        raise NoProof("no container with an index")
    with structure_checked():
        return (yield from _READERS[container](source, times=times))


def run(reader: Asking[T], fetch: Fetch) -> T:
    """What a reader returns, given the ranges that it requests. Raises what the reader and `fetch` raise."""
    try:
        wanted = next(reader)
        while True:
            try:
                parts = fetch(wanted)
            except BaseException:
                reader.close()
                raise
            wanted = reader.send(parts)
    except StopIteration as done:
        found: T = done.value
        return found


@contextlib.contextmanager
def structure_checked() -> Iterator[None]:
    """Makes a `NoProof` of a table that ends within a number, in a place that is not checked."""
    try:
        yield
    except (struct.error, IndexError, OverflowError) as error:
        raise NoProof(f"its structure is damaged ({type(error).__name__})") from error
