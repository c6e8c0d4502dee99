"""How fast `put_blocking` writes small documents from so many threads, against a bare loop of obstore's puts.

    python -m benchmarks.threads [--puts 8000] [--json PATH]

In turn, on one local server, without a delay and with 30 ms added to each answer: the bare loop is
`obstore.put` on a store of the same settings, with nothing around it; `put_blocking` goes over sockets
(`auto`) or through obstore. What is printed is objects a second, client processor seconds per 1,000,
and the ratio of the two.
"""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks import record
from metaferry.storage.factory import Transport, open_adapter
from metaferry.storage.http.storage import FastAdapter
from metaferry.storage.protocol import Direct
from servers.s3 import fast_s3

BODY = b'{"type": "image", "metadata": {"scene": "highway", "n": 1, "weather": {"temperature": 21.5}}}' * 3
TRANSPORTS: tuple[Transport, ...] = ("auto", "obstore")


def main() -> None:
    import obstore

    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--puts", type=int, default=8000)
    asked, found = record.begin(parser, puts=50)
    puts, results = asked.puts, []
    with fast_s3() as server:
        for delay in (0.0, 0.03):
            server.set(latency_ms=delay * 1000, log=False)
            for threads, transport in itertools.product((16, 32, 64, 256), TRANSPORTS):
                adapter = open_adapter(
                    f"s3://{server.new_bucket()}/x", server.options, concurrency=threads, transport=transport
                )
                assert isinstance(adapter, Direct)
                assert isinstance(adapter, FastAdapter)
                bare = adapter._config.connect(timeout=60.0)
                count = puts if not delay else min(puts, threads * 25)

                def alone(key: str, bare: Any = bare) -> None:
                    kind = {"Content-Type": "application/json"}
                    obstore.put(bare, f"x/{key}", BODY, attributes=kind, use_multipart=False)

                def ours(key: str, adapter: Direct = adapter) -> None:
                    adapter.put_blocking(key, BODY)

                for work in (alone, ours):  # connections, first use
                    run(work, threads, threads * 4)
                best = dict.fromkeys((alone, ours), (0.0, 0.0))
                for _ in range(3):
                    for work in (alone, ours):
                        best[work] = max(best[work], run(work, threads, count))
                (loop, loop_cpu), (rate, cpu) = best[alone], best[ours]
                results.append(
                    {
                        "delay_ms": delay * 1000,
                        "threads": threads,
                        "transport": transport,
                        "bare": {"objects_per_second": loop, "cpu_per_1000": loop_cpu},
                        "put_blocking": {"objects_per_second": rate, "cpu_per_1000": cpu},
                    }
                )
                print(
                    f"delay {delay * 1000:3.0f} ms  threads {threads:4}  {transport:7}  "
                    f"bare {loop:7.0f}/s {loop_cpu:.3f}  put_blocking {rate:7.0f}/s {cpu:.3f}  "
                    f"ratio {rate / loop:.2f}",
                    flush=True,
                )
    found.write({"puts": puts, "runs": results})


def run(work: Callable[[str], None], threads: int, count: int) -> tuple[float, float]:
    """Objects a second, and processor seconds per 1,000."""
    numbers = iter(range(count))
    lock = threading.Lock()

    def serve() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            work(f".lightly/metadata/day-{number % 30:02}/image-{number:07}.json")

    writers = [threading.Thread(target=serve) for _ in range(threads)]
    start, cpu = time.perf_counter(), time.process_time()
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    spent = time.process_time() - cpu
    return count / (time.perf_counter() - start), spent / count * 1000


if __name__ == "__main__":
    main()
