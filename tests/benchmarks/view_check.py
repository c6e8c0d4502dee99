"""How fast documents in place are checked: where nothing has to be read, and where everything has to be.

    python -m benchmarks.view_check [--documents N] [--rounds N] [--json PATH]

The server is the one of S3 in memory (`tests/servers`). "nothing to read" is `metaferry check JOB` after a
sync; "all to read" is `metaferry check URL` without the state folder. Reads a second are those of the second
run, less the seconds of the first one; "bare" reads the same documents with metaferry's HTTP client in
threads, and does nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from benchmarks import peers, record
from benchmarks.peers import PREFIX, Target
from servers.s3 import fast_s3

THREADS: Final = 32
_TOGETHER: Final = 32


def bare(endpoint: str, key: str, secret: str, bucket: str, count: int) -> float:
    """Seconds of reading the documents of the table that `peers.make_table` makes."""
    from metaferry.storage.http.client import CurlClient
    from metaferry.storage.http.exchange import Answer
    from metaferry.storage.http.network import Network
    from metaferry.storage.s3.requests import S3Requests
    from metaferry.storage.s3.signature import Endpoint, Signer

    keys = {"access_key_id": key, "secret_access_key": secret, "token": None}
    place = Endpoint(f"{endpoint}/{bucket}", "us-east-1", checksum=False)
    requests, client = S3Requests(place, Signer(place, lambda: keys)), CurlClient(Network(place.url))
    names = [
        f"{PREFIX}.lightly/metadata/{peers.media_key(n).removesuffix('.png')}.json" for n in range(count)
    ]

    def work(first: int) -> None:
        some = [requests.read(name, 0, 1_000, None) for name in names[first : first + _TOGETHER]]
        for result in client.run(some, timeout=60.0):
            if not isinstance(result, Answer) or result.status != 206:
                raise SystemExit(f"the bare loop met {result}")

    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(0, len(names), _TOGETHER)))
    client.close()
    return time.perf_counter() - start


def measure(count: int, rounds: int) -> dict[str, Any]:
    found: dict[str, list[float]] = {"nothing": [], "all": [], "bare": []}
    requests: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-check-") as temporary, fast_s3() as server:
        folder, target = Path(temporary), Target(server.endpoint, server.key, server.secret)
        server.set(log=False)
        peers.step("make_table", folder / "table.parquet", count)
        bucket = server.new_bucket()
        peers.step("seed", server.endpoint, bucket, count)
        job = peers.write_job(folder, target, bucket, bucket)
        peers.run(peers.metaferry(job), target.environment)
        sets = [f"storage.s3.{name}={json.dumps(value)}" for name, value in server.options.items()]
        url = [f"s3://{bucket}/{PREFIX}", *(part for each in sets for part in ("--set", each))]
        commands = {"nothing": [str(job)], "all": url}
        for name in commands:
            if name == "all":
                server.empty(bucket, f"{PREFIX}.metaferry/")
            for _ in range(rounds):
                command = [sys.executable, "-m", "metaferry", "check", *commands[name], "--quiet"]
                done = peers.run([*command, "--format", "json"], target.environment)
                result = json.loads(done.out.splitlines()[-1])
                read = result["documents"]["read"]
                if read != (count if name == "all" else 0) or result["exit_code"]:
                    raise SystemExit(f"{name} to read: {read} were read, exit code {result['exit_code']}")
                found[name].append(done.seconds)
                requests[name] = result["requests"]
                if name == "all":
                    where = (server.endpoint, server.key, server.secret, bucket, str(count))
                    alone = [sys.executable, "-m", "benchmarks.view_check", "--bare", *where]
                    found["bare"].append(json.loads(peers.run(alone, target.environment).out))
    seconds = {name: statistics.median(each) for name, each in found.items()}
    rate = count / (seconds["all"] - seconds["nothing"])
    return {
        "documents": count,
        "seconds": seconds,
        "requests": requests,
        "reads_s": rate,
        "bare_reads_s": count / seconds["bare"],
        "share_of_bare": rate * seconds["bare"] / count,
    }


def main() -> None:
    if sys.argv[1:2] == ["--bare"]:
        endpoint, key, secret, bucket, number = sys.argv[2:]
        print(json.dumps(bare(endpoint, key, secret, bucket, int(number))))
        return
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked, kept = record.begin(parser, documents=40, rounds=1)
    result = measure(asked.documents, asked.rounds)
    seconds = result["seconds"]
    print(f"check of {result['documents']:,} documents, S3 in memory")
    print(f"nothing to read: {seconds['nothing']:.1f} s, {result['requests']['nothing']}")
    print(f"all to read:     {seconds['all']:.1f} s, {result['requests']['all']}")
    print(
        f"reads a second:  {result['reads_s']:,.0f}, bare {result['bare_reads_s']:,.0f}: "
        f"{result['share_of_bare']:.2f}"
    )
    kept.write(result)


if __name__ == "__main__":
    main()
