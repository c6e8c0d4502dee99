"""An iterator of a portal that is dropped, not closed, blocks nothing, whichever thread collects it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

from metaferry.storage.io.portal import Portal


def test_an_iterator_that_is_collected_on_the_loop_does_not_block_it() -> None:
    async def items() -> AsyncIterator[int]:
        while True:
            yield 1

    async def collect() -> None:
        gc.collect()

    gc.disable()
    try:
        with Portal() as portal:
            stream = portal.iterate(items())
            assert next(stream) == 1
            cycle: list[object] = [stream]
            cycle.append(cycle)
            del stream, cycle
            asyncio.run_coroutine_threadsafe(collect(), portal._loop).result(60)
    finally:
        gc.enable()
