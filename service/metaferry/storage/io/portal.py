"""An event loop in a thread, for synchronous callers.

Planning is synchronous (DuckDB, pyarrow); storage is asynchronous. A :class:`Portal` lets the
first use the second from any thread, also from inside a running event loop of the caller (a notebook,
an Airflow task), which it does not use.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

#: Seconds for which the main thread waits in one go. A signal that arrives just before it begins to wait, or
#: in another thread, does not end the wait, and its Python handler runs no earlier than that.
_LOOK: Final = 0.5


class Portal:
    """`with Portal() as portal: portal.run(coroutine)`. Not reentrant; usable from many threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="metaferry-io", daemon=True)
        self._pumps: set[asyncio.Task[None]] = set()  # or one is collected with its iterator, unfinished

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.run(self._drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _drain(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop and waits for it. Ctrl-C cancels it."""
        return self.wait(self.start(work))

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Starts a coroutine on the loop, for `wait`; a caller that no longer wants it cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, future: Future[T]) -> T:
        """The result of what was started. Ctrl-C cancels it."""
        seconds = _LOOK if threading.current_thread() is threading.main_thread() else None
        try:
            while True:
                try:
                    return future.result(seconds)
                except TimeoutError:
                    if future.done():  # it ended meanwhile, or this is its own error
                        return future.result()
        except BaseException:
            future.cancel()
            raise

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Calls `call` on the loop after so many seconds, if the portal is still open then. Returns at once,
        also in a signal handler."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._loop.call_later, seconds, call)

    def iterate(self, items: AsyncIterator[T], *, ahead: int = 2) -> Generator[T, None, None]:
        """The items of an async iterator, fetched up to `ahead` of the caller."""
        queue: asyncio.Queue[tuple[bool, Any]] = asyncio.Queue(maxsize=max(1, ahead))

        async def pump() -> None:
            try:
                async for item in items:
                    await queue.put((True, item))
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
                await queue.put((False, error))
            else:
                await queue.put((False, None))
            finally:
                # Closed here: at the end of the loop, its inner iterators would be closed at the same time.
                if isinstance(items, AsyncGenerator):
                    await items.aclose()

        async def start() -> asyncio.Task[None]:
            task = asyncio.create_task(pump())
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)
            return task

        async def stop(task: asyncio.Task[None]) -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task = self.run(start())
        try:
            while True:
                more, item = self.run(queue.get())
                if more:
                    yield item
                elif item is not None:
                    raise item
                else:
                    return
        finally:
            # A generator that was dropped without closing may end after the portal, which has stopped it.
            if threading.current_thread() is self._thread:
                task.cancel()  # the garbage collector may run on the loop, which must not wait for itself
            elif not self._loop.is_closed():
                self.run(stop(task))
