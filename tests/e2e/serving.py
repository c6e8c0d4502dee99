"""`metaferry serve` as a process, with what it says and answers, and a job that takes a while to write.

Nothing here waits for a time; everything waits for what it can see.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from e2e.stores import DOCUMENT, Meanwhile
from e2e.world import ENVIRONMENT, World
from servers.ministack import options_for
from servers.proxy import Proxy, proxy
from servers.s3 import FastS3

LONG = ("--every", "1d")
HERE = ("--host", "127.0.0.1", "--port", "0")


class Serving:
    """The process. `line()` waits for the next line of stdout, `heard` is what stderr said so far."""

    def __init__(self, world: World, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "metaferry", "serve", "job.yaml", *HERE, *arguments],
            cwd=world.root,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.heard: list[str] = []
        self._out: queue.Queue[str] = queue.Queue()
        self._err: queue.Queue[str] = queue.Queue()
        self._threads = [
            threading.Thread(target=self._read, args=pair)
            for pair in ((self.process.stdout, self._out), (self.process.stderr, self._err))
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, stream: Any, to: queue.Queue[str]) -> None:
        with stream:
            for line in stream:
                to.put(line)
        to.put("")

    def line(self) -> str:
        return self._out.get(timeout=60)

    def hear(self, words: str) -> str:
        """Waits until stderr says this."""
        while words not in (line := self._err.get(timeout=60)):
            self.heard.append(line)
            assert line, f"it ended without {words!r}: {''.join(self.heard)}"
        self.heard.append(line)
        return line

    def address(self) -> str:
        """Waits until it listens."""
        found = re.search(r"(http://\S+)/healthz", self.hear("/healthz"))
        assert found is not None
        return found[1]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(60)
        for thread in self._threads:
            thread.join()
        while not self._err.empty():
            self.heard.append(self._err.get())
        assert not re.search("Traceback|Fatal|Warning", "".join(self.heard))
        return code


@contextlib.contextmanager
def serving(world: World, *arguments: str) -> Iterator[Serving]:
    made = Serving(world, *arguments)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.wait()


def get(url: str, **headers: str) -> tuple[int, str, str]:
    """Status, content type, body."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def metrics(url: str) -> dict[tuple[str, ...], float]:
    """Values by name and the values of the labels but that of the job."""
    return {
        (
            sample.name,
            *(text for name, text in sorted(sample.labels.items()) if name != "metaferry_job"),
        ): sample.value
        for family in text_string_to_metric_families(get(f"{url}/metrics")[2])
        for sample in family.samples
    }


class AtTheFirst(Meanwhile):
    """Acts when the first document arrives at the store."""

    def matches(self, method: str, key: str, headers: Mapping[str, str]) -> bool:
        if self.used == 0 and method == "PUT" and re.search(DOCUMENT, key):
            self.used = 1
            self.act()
        return False


@dataclass
class Bucket:
    """Where a job's documents go, with a proxy before it."""

    name: str
    server: FastS3
    proxy: Proxy

    def answers_slowly(self) -> None:
        """So that 300 documents are far from written when a signal has gone its way."""
        self.server.set(latency_ms=50)

    def at_the_first_document(self, act: Callable[[], None]) -> None:
        rule = AtTheFirst("status", "PUT", DOCUMENT)
        rule.act = act
        self.proxy.add(rule)

    def documents(self) -> int:
        return sum(not key.endswith("schema.json") for key in self._below(".lightly/metadata/"))

    def reports(self) -> list[Any]:
        found = self._below(".metaferry/runs/")
        return [json.loads(found[key]) for key in sorted(found) if key.endswith("/run.json")]

    def _below(self, folder: str) -> dict[str, bytes]:
        return self.server.objects(self.name, f"fleet/{folder}")


@contextlib.contextmanager
def many_images(world: World, server: FastS3, picture: bytes) -> Iterator[Bucket]:
    """300 images here, their documents there, two at once."""
    with proxy(server.endpoint) as before:
        made = Bucket(server.new_bucket(), server, before)
        names = [f"images/{number}.png" for number in range(300)]
        for name in names:
            world.put(f"data/{name}", picture)
        world.put("tables/labels.csv", "file_name,scene\n" + "".join(f"{name},city\n" for name in names))
        options = options_for(before.endpoint, server.key, server.secret)
        world.job["lightly"] = {"url": f"s3://{made.name}/fleet", "options": options}
        world.job |= {"concurrency": 2, "workers": 1}
        world.write_job()
        try:
            yield made
        finally:
            server.reset()
