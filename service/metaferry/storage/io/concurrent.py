"""Requests in parallel, up to a limit.

For the files of a state folder, of a plan, and for reading documents back: a request that waits for its
retries does not delay the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def as_they_end(
    batches: Iterator[Sequence[T]], work: Callable[[T], Awaitable[R]], *, most: int
) -> AsyncIterator[tuple[T, R]]:
    """Each item with the result of `work`, in order of completion, at most `most` of them under way.

    Batches are fetched in a thread, at most one ahead. The first exception cancels the others and is raised.
    """
    running: dict[asyncio.Future[R], T] = {}
    try:
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            for item in batch:
                while len(running) >= most:
                    for ended in (await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))[0]:
                        yield running.pop(ended), ended.result()
                running[asyncio.ensure_future(work(item))] = item
        while running:
            for ended in (await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))[0]:
                yield running.pop(ended), ended.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def in_order(items: Iterable[T], work: Callable[[T], Awaitable[R]], *, most: int) -> list[R]:
    """The results of `work` in the order of the items, at most `most` of them under way.

    The first exception cancels the others and is raised.
    """
    numbered = list(enumerate(items))
    results: dict[int, R] = {}

    async def one(item: tuple[int, T]) -> R:
        return await work(item[1])

    async for (number, _), result in as_they_end(iter([numbered]), one, most=max(1, most)):
        results[number] = result
    return [results[number] for number, _ in numbered]


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`."""
    source = iter(items)
    while some := list(islice(source, size)):
        yield some


async def close_all(closing: Iterable[Awaitable[object]]) -> None:
    """Awaits all, also after one fails; raises the first exception at the end."""
    ended = await asyncio.gather(*closing, return_exceptions=True)
    for failed in ended:
        if isinstance(failed, BaseException):
            raise failed
