"""The tests' Google Cloud Storage server as a process: `python run_gcs.py PORT BUCKET...`.

It keeps everything in memory, checks no credentials, and is for trying things out only.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from aiohttp import web

from servers.gcs import GcsServer


async def serve(port: int, buckets: list[str]) -> None:
    store = GcsServer(buckets={bucket: {} for bucket in buckets})
    runner = web.ServerRunner(web.Server(store.handle))
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2:]))
