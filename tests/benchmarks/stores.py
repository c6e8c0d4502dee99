"""How fast documents are put into each store: a whole `metaferry sync`, and its client alone.

    python -m benchmarks.stores [STORE ...] [--documents N] [--rounds N] [--baseline PYTHON] [--json PATH]

The stores are the servers in memory of `tests/servers`, which are not the limit: S3 over HTTP, over TLS and
through a proxy, Google Cloud Storage, Azure. "sync" is the whole command, from its start to its end; "client"
puts the same number of documents from threads through the storage adapter, with nothing else to do.
`--baseline` names the Python of another checkout's environment, whose `metaferry sync` is measured in turn,
round by round, in the same sitting. The proxy is the server itself, asked as a proxy is (the whole URL in the
request line), so what it adds is the client's part of it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import peers, record
from benchmarks.peers import PREFIX, Measured
from servers.azure import fast_azure
from servers.certificates import write_certificates
from servers.gcs import gcs
from servers.s3 import fast_s3
from servers.steering import Steered

#: Threads that put, and documents that each hands over together: what a sync comes to.
THREADS: Final = 32
_TOGETHER: Final = 32
_DOCUMENT: Final = b'{"type": "image", "metadata": {"scene": "highway", "note": "%s"}}' % (b"-" * 240)


@dataclass(frozen=True, slots=True)
class Store:
    """A store that runs: the options that reach it, and the environment of a process that uses it."""

    server: Steered
    scheme: str
    options: dict[str, Any]
    environment: dict[str, str]


@contextlib.contextmanager
def _s3(folder: Path) -> Iterator[Store]:
    with fast_s3() as server:
        yield Store(server, "s3", server.options, {})


@contextlib.contextmanager
def _s3_tls(folder: Path) -> Iterator[Store]:
    with fast_s3(tls=write_certificates(folder)) as server:
        options = server.options
        options["client_kwargs"] |= {"verify": str(server.put_credential)}
        yield Store(server, "s3", options, {})


@contextlib.contextmanager
def _s3_proxy(folder: Path) -> Iterator[Store]:
    with fast_s3() as server:
        proxy = {"http_proxy": server.endpoint, "NO_PROXY": "none.invalid"}
        yield Store(server, "s3", {**server.options, "endpoint_url": "http://s3.invalid"}, proxy)


@contextlib.contextmanager
def _gcs(folder: Path) -> Iterator[Store]:
    with gcs() as server:
        yield Store(server, "gs", server.options, {})


@contextlib.contextmanager
def _azure(folder: Path) -> Iterator[Store]:
    with fast_azure() as server:
        yield Store(server, "az", server.options, {})


#: A new store is one entry more.
STORES: Final[dict[str, Callable[[Path], contextlib.AbstractContextManager[Store]]]] = {
    "s3": _s3,
    "s3 over TLS": _s3_tls,
    "s3, proxy": _s3_proxy,
    "gcs": _gcs,
    "azure": _azure,
}


def measure(name: str, count: int, rounds: int, baseline: str | None) -> dict[str, Any]:
    """The runs against one store, by contender."""
    runs: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-stores-") as temporary:
        folder = Path(temporary)
        peers.step("make_table", folder / "table.parquet", count)
        with STORES[name](folder) as store:
            store.server.set(log=False)
            media = store.server.new_bucket()
            store.server.seed(media, (PREFIX + peers.media_key(n) for n in range(count)))
            environment = peers.without_settings() | store.environment
            pythons = {"sync": sys.executable} | ({"baseline": baseline} if baseline else {})
            for _ in range(rounds):
                for contender, python in pythons.items():
                    bucket = store.server.new_bucket()
                    job = _job(folder, store, media, bucket)
                    command = [python, "-m", "metaferry", "sync", str(job), "--format", "json", "--quiet"]
                    runs.setdefault(contender, []).append(peers.run(command, environment))
                    _all_there(store, bucket, count + 1)
                bucket = store.server.new_bucket()
                url, options = f"{store.scheme}://{bucket}/{PREFIX}", json.dumps(store.options)
                command = [sys.executable, "-m", "benchmarks.stores", "--client", url, options, str(count)]
                said = json.loads(peers.run(command, os.environ | environment).out)
                runs.setdefault("client", []).append(Measured(said["seconds"], said["cpu"], 0, ""))
                _all_there(store, bucket, count)
    return {
        "store": name,
        "documents": count,
        "contenders": {
            contender: {
                "rate": count / statistics.median(each.seconds for each in found),
                "cpu_ms": statistics.median(each.cpu for each in found) / count * 1000,
                "seconds": [each.seconds for each in found],
            }
            for contender, found in runs.items()
        },
        "ratios": [
            old.seconds / new.seconds
            for old, new in zip(runs.get("baseline", []), runs["sync"], strict=False)
        ],
    }


def client(url: str, options: dict[str, Any], count: int) -> dict[str, float]:
    """Puts documents from threads through the adapter alone; seconds, and CPU seconds of this process."""
    from metaferry.storage.factory import open_adapter
    from metaferry.storage.protocol import ABSENT, Batched, Put

    adapter = open_adapter(url, options, concurrency=THREADS * _TOGETHER)
    if not isinstance(adapter, Batched):
        raise SystemExit(f"{url} has no client of ours")
    md5 = hashlib.md5(_DOCUMENT).hexdigest()

    def work(first: int) -> None:
        last = min(first + _TOGETHER, count)
        puts: list[Put] = [
            (f".lightly/metadata/{n:08d}.json", _DOCUMENT, ABSENT, md5) for n in range(first, last)
        ]
        for found in adapter.put_batch(puts, ended=lambda: False):
            if found is None or isinstance(found, Exception):
                raise SystemExit(f"a put came to {found}")

    work(0)  # the first one opens the client
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(_TOGETHER, count, _TOGETHER)))
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu}


def _job(folder: Path, store: Store, media: str, documents: str) -> Path:
    job = {
        "input": f"{store.scheme}://{media}/{PREFIX}",
        "lightly": f"{store.scheme}://{documents}/{PREFIX}",
        "storage": {store.scheme: store.options},
        "sources": [{"table": str(folder / "table.parquet")}],
    }
    path = folder / f"job-{documents}.yaml"
    path.write_text(json.dumps(job))  # which is YAML
    return path


def _all_there(store: Store, bucket: str, count: int) -> None:
    there = store.server.count(bucket, f"{PREFIX}.lightly/metadata/")
    if there != count:
        raise SystemExit(f"{there} objects are there, not {count}")


def main() -> None:
    if sys.argv[1:2] == ["--client"]:
        print(json.dumps(client(sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]))))
        return
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("stores", nargs="*", metavar="STORE", help=f"of {', '.join(STORES)}; default: all")
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--baseline", metavar="PYTHON", help="of an environment with another metaferry")
    asked, found = record.begin(parser, documents=40, rounds=1)
    results = []
    for name in asked.stores or STORES:
        if name not in STORES:
            parser.error(f"no store {name}")
        result = measure(name, asked.documents, asked.rounds, asked.baseline)
        results.append(result)
        print(f"\n{name}: {result['documents']:,} documents")
        print(f"{'':<10}{'puts/s':>10}{'CPU ms/put':>13}")
        for contender, each in result["contenders"].items():
            print(f"{contender:<10}{each['rate']:>10,.0f}{each['cpu_ms']:>13.3f}")
        if result["ratios"]:
            print(f"sync / baseline: {peers.spread(result['ratios'])}")
        sys.stdout.flush()
    found.write({"stores": results})


if __name__ == "__main__":
    main()
