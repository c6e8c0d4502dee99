"""HTTP through libcurl: requests of many threads and event loops, made by one thread over one multi handle.

A thread that has many requests hands them in together and is woken once (:class:`Exchange`); exchanges go on
side by side. Nothing here knows a store, retries, or follows a redirection.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence

from metaferry.storage.errors import Failure
from metaferry.storage.http.exchange import Answer, Exchange, Request
from metaferry.storage.http.network import Network
from metaferry.storage.http.transfers import Transfers

#: Seconds that `close` waits for the thread.
_GRACE = 5.0


class CurlClient:
    """Connections to one endpoint. Safe from any thread, not across a fork: a child makes one of its own.

    `timeout` (seconds) bounds one request, getting a connection included.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._lock = threading.Lock()
        self._transfers: Transfers | None = None
        self._closing = False

    def run(
        self, requests: Sequence[Request], ended: Callable[[], bool] = lambda: False, *, timeout: float
    ) -> list[Answer | Failure]:
        """Blocks until the exchange has ended; see there for `ended`."""
        done = threading.Lock()
        done.acquire()
        exchange = Exchange(requests, done.release, timeout=timeout, ended=ended)
        self._submit(exchange)
        try:
            done.acquire()
        except BaseException:  # Ctrl-C: nobody waits for it any more
            self._cancel(exchange)
            raise
        return exchange.results

    async def request(self, request: Request, *, timeout: float) -> Answer | Failure:
        """On any event loop; where the task is cancelled, the request ends."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not answered.done():
                answered.set_result(None)

        def done() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and its task with it
                loop.call_soon_threadsafe(tell)

        exchange = Exchange([request], done, timeout=timeout)
        self._submit(exchange)
        try:
            await answered
        except asyncio.CancelledError:
            self._cancel(exchange)
            raise
        return exchange.results[0]

    def close(self, *, wait: bool = True) -> None:
        """What is under way goes on to its end; then connections and thread go."""
        with self._lock:
            self._closing = True
            transfers = self._transfers
            if transfers is None:
                return
            transfers.signal()
        if wait and not transfers.busy and transfers.thread is not threading.current_thread():
            transfers.thread.join(_GRACE)

    def _submit(self, exchange: Exchange) -> None:
        with self._lock:
            transfers = self._transfers
            if transfers is None:
                transfers = self._transfers = Transfers(self._network, self._may_end)
                transfers.thread.start()
            transfers.incoming.append((exchange, True))
            transfers.signal()

    def _cancel(self, exchange: Exchange) -> None:
        with self._lock:
            if self._transfers is not None:
                self._transfers.incoming.append((exchange, False))
                self._transfers.signal()

    def _may_end(self, idle: bool) -> bool:
        """Asked by the thread when it has nothing to do; it ends where this says so. `idle`: for long."""
        with self._lock:
            if self._transfers is None or self._transfers.incoming or not (idle or self._closing):
                return False
            self._transfers = None  # another one is made where more comes
            return True
