"""How fast `put_batch` writes small documents, one or many at a time, against a bare loop of `perform`.

    python -m benchmarks.threads [--puts 8000] [--json PATH]

In turn, on one local server, without a delay and with 30 ms added to each answer: in the bare loop each
thread has an easy handle of its own and performs the very same requests, built and signed the same way, with
nothing around. What is printed is objects a second, client processor seconds per 1,000, and the ratio of the
rates.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from typing import Any

import pycurl

from benchmarks import record
from metaferry.storage.factory import open_adapter
from metaferry.storage.http.adapter import HttpAdapter
from metaferry.storage.http.network import curl_options
from metaferry.storage.keys import md5_hex
from metaferry.storage.protocol import ANYTHING
from servers.s3 import fast_s3

BODY = b'{"type": "image", "metadata": {"scene": "highway", "n": 1, "weather": {"temperature": 21.5}}}' * 3
#: Puts that a thread hands in together, as the upload path does.
TOGETHER = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--puts", type=int, default=8000)
    asked, found = record.begin(parser, puts=50)
    puts, results = asked.puts, []
    with fast_s3() as server:
        for delay in (0.0, 0.03):
            server.set(latency_ms=delay * 1000, log=False)
            for threads in (16, 32, 64, 256):
                adapter = open_adapter(f"s3://{server.new_bucket()}/x", server.options, concurrency=threads)
                assert isinstance(adapter, HttpAdapter)
                count = max(TOGETHER, puts if not delay else min(puts, threads * 25))
                ways = {"bare": bare(adapter), "one by one": one(adapter), "put_batch": together(adapter)}
                for work, size in ways.values():  # connections, first use
                    run(work, threads, threads * 4 // size)
                best = dict.fromkeys(ways, (0.0, 0.0))
                for _ in range(3):
                    for name, (work, size) in ways.items():
                        rate, cpu = run(work, threads, count // size)
                        best[name] = max(best[name], (rate * size, cpu / size))
                figures = {
                    name: {"objects_per_second": rate, "cpu_per_1000": cpu}
                    for name, (rate, cpu) in best.items()
                }
                results.append({"delay_ms": delay * 1000, "threads": threads, **figures})
                for name, (rate, cpu) in best.items():
                    print(
                        f"delay {delay * 1000:3.0f} ms  threads {threads:4}  {name:12}  "
                        f"{rate:7.0f}/s {cpu:.3f}  ratio {rate / best['bare'][0]:.2f}",
                        flush=True,
                    )
    found.write({"puts": puts, "runs": results})


#: What a thread does with each name, and how many puts that is.
Way = tuple[Callable[[str], None], int]


def bare(adapter: HttpAdapter) -> Way:
    opened = adapter._open()
    assert opened is not None
    requests, network, local = opened.requests, opened.client._network, threading.local()

    def perform(key: str) -> None:
        curl: Any = getattr(local, "curl", None)
        if curl is None:
            curl = local.curl = pycurl.Curl()
            for option, value in curl_options(network):
                curl.setopt(option, value)
            curl.setopt(pycurl.CUSTOMREQUEST, "PUT")
            curl.setopt(pycurl.WRITEFUNCTION, lambda _: None)
        request = requests.put(f"x/{key}", BODY, "application/json", ANYTHING)
        curl.setopt(pycurl.URL, request.url)
        curl.setopt(pycurl.HTTPHEADER, request.headers)
        curl.setopt(pycurl.POSTFIELDS, request.body)
        curl.perform()
        assert curl.getinfo(pycurl.RESPONSE_CODE) == 200

    return perform, 1


def one(adapter: HttpAdapter) -> Way:
    md5 = md5_hex(BODY)

    def put(key: str) -> None:
        (token,) = adapter.put_batch([(key, BODY, ANYTHING, md5)], ended=lambda: False)
        assert isinstance(token, str)

    return put, 1


def together(adapter: HttpAdapter) -> Way:
    md5 = md5_hex(BODY)

    def put(key: str) -> None:
        puts = [(f"{key}-{n:02}", BODY, ANYTHING, md5) for n in range(TOGETHER)]
        assert all(isinstance(each, str) for each in adapter.put_batch(puts, ended=lambda: False))

    return put, TOGETHER


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
