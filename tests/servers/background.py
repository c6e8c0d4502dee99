"""An asyncio HTTP server on a loop in a thread of the test process, so tests can steer and count it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from aiohttp import web


@contextlib.contextmanager
def loop_in_thread(name: str) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Gives `run(coroutine)`, which runs it on a loop of its own and waits for it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=name, daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    try:
        yield run
    finally:
        run(_drain())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def http_server(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    *,
    closing: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> Iterator[str]:
    """Serves `handler` on a free port of 127.0.0.1; gives the address. `closing` ends on its loop."""
    with loop_in_thread("test-server") as run:
        runners: list[web.ServerRunner] = []

        async def start() -> str:
            server = web.Server(handler, request_factory=_any_size, access_log=None)
            runner = web.ServerRunner(server, shutdown_timeout=1.0)
            runners.append(runner)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            assert site._server is not None
            port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
            return f"http://127.0.0.1:{port}"

        address = run(start())
        try:
            yield address
        finally:
            run(runners[0].cleanup())
            if closing is not None:
                run(closing())


def _any_size(*parts: Any) -> web.BaseRequest:
    """A request as aiohttp makes it, without its limit of one megabyte."""
    return web.BaseRequest(*parts, asyncio.get_running_loop(), client_max_size=0)


async def _drain() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
