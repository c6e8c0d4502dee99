"""Counts one video from the index of its container: the first and cheapest level.

Reads through a function that fetches ranges. The parsers are pure and run in this process: nothing of
the media is decoded. Whatever a file holds, the result is an `Indexed` or a `NoProof`, within the budgets
of `reading.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from metaferry.media.frames.containers import avi, matroska
from metaferry.media.frames.containers.mp4 import index as mp4
from metaferry.media.frames.containers.reading import Indexed, NoProof, Range, Source, first_range
from metaferry.media.frames.containers.sniff import Container, container_of

#: Fetches ranges of one version of the video, at once where it can.
Fetch = Callable[[list[Range]], list[bytes]]

_READERS = {"mp4": mp4.count, "avi": avi.count, "matroska": matroska.count}


def open_source(size: int, fetch: Fetch) -> tuple[Source, Container | None]:
    """The head of a video of `size` bytes, read, and the container it is."""
    [head] = fetch([(0, first_range(size))])
    return Source(size, head), container_of(head)


def count(source: Source, container: Container | None, fetch: Fetch, *, times: bool = False) -> Indexed:
    """N as its index proves it. Raises `NoProof`, and what `fetch` raises."""
    if container is None:
        raise NoProof("no container with an index")
    reader = _READERS[container](source, times=times)
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
        found: Indexed = done.value
        return found
    except (struct.error, IndexError, OverflowError) as error:
        # A table that ends within a number, in a place that is not checked.
        raise NoProof(f"its structure is damaged ({type(error).__name__})") from error
