"""How fast the headers of images are read: N heads from a local S3 server, then the same from what was kept.

    python -m benchmarks.media_facts [--images N] [--json PATH]

The server is one process in memory, which shares the machine: it is part of every figure. `bare` are ranged
reads of the heads alone, whose bytes are let go; `first` is a plan that reads and keeps the facts of all
images; `again` the same plan once they are kept, which asks for no image. Each is measured in a process of
its own, so that the peak memory is that one's. Prints a line each: images a second over all that comes before
the plan is made (the listing as well), seconds of the whole, peak memory, and GET requests.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from benchmarks import record
from servers.s3 import FastS3, fast_s3
from unit.media.facts.images.making import block, exif_segment, jpeg, rationals, segment, text_entry

IMAGES: Final = 1_000_000
#: Keys that are made in one request.
_SEEDED: Final = 20_000
#: Files that a thread of `bare` reads at once, and threads.
_SHARE: Final = 8
_THREADS: Final = 64
_HEAD: Final = 64 << 10


def image() -> bytes:
    """A JPEG as phones write it: an Exif block with a place, a colour profile, and more than 64 KiB."""
    place = {
        1: text_entry("N"),
        2: rationals((47, 1), (22, 1), (3012, 100)),
        3: text_entry("E"),
        4: rationals((8, 1), (32, 1), (1530, 100)),
    }
    exif = {
        0x829A: rationals((1, 250)),
        0x829D: rationals((18, 10)),
        0x9003: text_entry("2026:05:01 10:00:00"),
        0x9011: text_entry("+02:00"),
    }
    main = {0x010F: text_entry("Acme"), 0x0110: text_entry("Phone 7")}
    return jpeg(exif_segment(block(main, exif, place)), segment(0xE2, bytes(3_000))) + bytes(90_000)


def _mapping(server: FastS3, bucket: str) -> dict[str, Any]:
    return {
        "input": {"url": f"s3://{bucket}/data/", "options": server.options},
        "sources": [{"media_facts": {"kinds": ["image"]}}],
    }


def bare(mapping: dict[str, Any], images: int) -> dict[str, float]:
    """Reads the heads, by as many threads."""
    from metaferry.storage.factory import open_storage
    from metaferry.storage.io.portal import Portal

    storage = open_storage(mapping["input"]["url"], mapping["input"]["options"])
    shares = [range(first, min(first + _SHARE, images)) for first in range(0, images, _SHARE)]

    def read(share: range) -> int:
        blobs = storage.read_blocking([(_name(n), _HEAD) for n in share], ended=lambda: False)
        return sum(blob is not None for blob in blobs)

    started = time.perf_counter()
    with Portal() as portal, ThreadPoolExecutor(_THREADS) as threads:
        found = sum(threads.map(read, shares))
        seconds = time.perf_counter() - started
        portal.run(storage.close())
    return {"images": found, "images_per_second": found / seconds, "seconds": seconds, "gets": found}


def planned(mapping: dict[str, Any], images: int) -> dict[str, float]:
    """A plan of a job that has no other source."""
    import metaferry

    started = time.perf_counter()
    report = metaferry.plan(metaferry.Job.from_mapping(mapping))
    seconds = time.perf_counter() - started
    assert report.documents.create == images, report
    return {
        "images": images,
        "images_per_second": images / report.seconds["gather"],
        "seconds": seconds,
        "gets": report.requests.get,
    }


STEPS: Final[dict[str, Callable[[dict[str, Any], int], dict[str, float]]]] = {
    "bare": bare,
    "first": planned,
    "again": planned,
}


def _name(number: int) -> str:
    return f"{number % 1_000:03d}/image_{number:09d}.jpg"


def _measured(step: str, mapping: dict[str, Any], images: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.media_facts", "--step", step, "--images", str(images)]
    command += ["--mapping", json.dumps(mapping)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _step(asked: argparse.Namespace) -> None:
    found = STEPS[asked.step](json.loads(asked.mapping), asked.images)
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--step", choices=sorted(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--mapping", help=argparse.SUPPRESS)
    if "--step" in sys.argv:
        _step(parser.parse_args())
        return
    asked, kept = record.begin(parser, images=200)
    figures: dict[str, dict[str, float]] = {}
    with fast_s3() as server:
        server.set(log=False)
        bucket = server.new_bucket()
        for first in range(0, asked.images, _SEEDED):
            numbers = range(first, min(first + _SEEDED, asked.images))
            server.seed(bucket, [f"data/{_name(n)}" for n in numbers], image())
        for step in STEPS:
            figures[step] = found = _measured(step, _mapping(server, bucket), asked.images)
            print(
                f"{step:6} {found['images_per_second']:>10,.0f} images/s  {found['seconds']:8,.1f} s  "
                f"peak {found['peak_mib']:6,.0f} MiB  {found['gets']:>10,.0f} GET",
                flush=True,
            )
    kept.write({"images": asked.images, **figures})


if __name__ == "__main__":
    main()
