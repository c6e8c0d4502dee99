"""An S3 server of our own, in memory: fast enough not to be the limit, and spoiled at a word.

    python -m servers.s3 [--port 0] [--port-file FILE]

runs it and prints its port. Tests use `fast_s3()`, which starts that as a process of its own and
gives a :class:`FastS3`; what it can do to requests is in `s3_rules.py`, and `POST /_control` takes
the same as JSON. What it speaks of S3 is in `s3_api.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import hashlib
import json
import os
import re
import signal
import socket
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from servers.ministack import options_for
from servers.process import server
from servers.s3_objects import Bucket, Stored
from servers.s3_rules import Behaviour, Fault

#: Requests as `python -m servers.s3` logs them: seconds, method, decoded path and query, status, done.
Logged = tuple[float, str, str, int, bool]


@dataclasses.dataclass(frozen=True, slots=True)
class FastS3:
    """A running server. Whatever is set stays until it is set again."""

    endpoint: str
    pid: int
    key: str = "metaferry"
    secret: str = "metaferry-secret"

    @property
    def options(self) -> dict[str, Any]:
        return options_for(self.endpoint, self.key, self.secret)

    def control(self, **wanted: Any) -> Any:
        """One request to the control endpoint; ValueError when it does not understand it."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        data = json.dumps(wanted).encode()
        request = urllib.request.Request(f"{self.endpoint}/_control", data=data, method="POST")
        try:
            with opener.open(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(error.read().decode()) from None

    def new_bucket(self) -> str:
        """Makes an empty bucket and returns its name."""
        name = f"metaferry-{uuid.uuid4().hex[:12]}"
        self.control(bucket=name)
        return name

    # -- what is there, without a request that counts

    def seed(self, bucket: str, keys: Iterable[str], data: bytes = b"media") -> None:
        """Puts the same bytes under many keys at once."""
        self.control(seed={"bucket": bucket, "keys": list(keys), "data": data.decode("latin-1")})

    def empty(self, bucket: str, prefix: str = "") -> int:
        """Deletes everything below a prefix; answers how many objects that were."""
        removed: int = self.control(empty={"bucket": bucket, "prefix": prefix})
        return removed

    def count(self, bucket: str, prefix: str = "") -> int:
        """Objects below a prefix."""
        found: int = self.control(count={"bucket": bucket, "prefix": prefix})
        return found

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Everything below a prefix, by whole key."""
        found = self.control(objects={"bucket": bucket, "prefix": prefix})
        return {key: data.encode("latin-1") for key, data in found.items()}

    # -- how it behaves

    def set(self, **settings: Any) -> None:
        """latency_ms, kms (bool), conditions (honour, ignore, refuse), log (bool), and cap:
        None or {rate, concurrency, method, retry_after}."""
        self.control(set=settings)

    def add(self, rule: Any) -> int:
        """A :class:`Fault`, or a rule of the proxy's; the number under which `used` counts it."""
        fields = dataclasses.asdict(rule)
        fields["body"] = fields["body"].decode("latin-1")
        number: int = self.control(add=fields)
        return number

    def used(self, number: int) -> int:
        """How often a rule has been used."""
        return int(self.state()["used"][number])

    def expire(self, *keys: str) -> None:
        """Requests signed with these access keys are answered ExpiredToken."""
        self.control(expire=list(keys))

    def renew(self, *keys: str) -> None:
        self.control(renew=list(keys))

    def clear(self) -> None:
        """Forgets all counts and rules."""
        self.control(clear=True)

    def reset(self) -> None:
        """As it was when it started, but for the objects."""
        self.set(latency_ms=0, kms=False, conditions="honour", log=True, cap=None)
        self.control(renew=None, clear=True)

    # -- what was asked of it

    def state(self) -> dict[str, Any]:
        """counts by operation, statuses, accepted (requests done, by second), most_under_way, used."""
        state: dict[str, Any] = self.control()
        return state

    def log(self, method: str = ".*", key: str = ".*") -> list[Logged]:
        """The requests whose method and decoded path match, in the order they were done."""
        return [
            tuple(each)
            for each in self.control(log=True)
            if re.fullmatch(method, each[1]) and re.search(key, each[2])
        ]


@contextlib.contextmanager
def fast_s3() -> Iterator[FastS3]:
    """The server as a process of its own, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="s3-") as folder:
        port = Path(folder) / "port"
        command = [sys.executable, "-m", "servers.s3", "--port", "0", "--port-file", str(port)]
        tests = Path(__file__).parents[1]
        with server(command, ready=port.exists, env={"PYTHONPATH": str(tests)}) as process:
            yield FastS3(f"http://127.0.0.1:{port.read_text()}", process.pid)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--port-file", type=Path, help="where its port is written once it listens")
    arguments = parser.parse_args()
    import uvloop

    # Millions of objects that live as long as the process, and no cycles: looking for some is waste.
    gc.disable()
    uvloop.run(_serve(arguments.host, arguments.port, arguments.port_file))


async def _serve(host: str, port: int, port_file: Path | None) -> None:
    from servers.s3_api import Api
    from servers.s3_http import Clock, Connection

    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    behaviour, clock = Behaviour(), Clock()
    api = Api(behaviour, clock.modified)
    control = _Control(api.buckets, behaviour, clock.modified)
    listener = socket.create_server((host, port), backlog=4096)
    port = listener.getsockname()[1]
    listening = await loop.create_server(lambda: Connection(api, behaviour, control, clock), sock=listener)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    print(port, flush=True)
    if port_file is not None:
        part = port_file.with_suffix(".part")
        part.write_text(str(port))
        os.replace(part, port_file)
    await stopped.wait()
    listening.close()


class _Control:
    """What the control endpoint does: an object with any of the names below; answers the last one."""

    def __init__(self, buckets: dict[str, Bucket], behaviour: Behaviour, modified: Any) -> None:
        self._buckets = buckets
        self._behaviour = behaviour
        self._modified = modified

    def __call__(self, wanted: dict[str, Any]) -> Any:
        answer: Any = self._behaviour.to_json()
        for name, value in wanted.items():
            answer = self._do(name, value)
        return answer

    def _do(self, name: str, value: Any) -> Any:
        behaviour = self._behaviour
        match name:
            case "set":
                behaviour.set(**value)
            case "add":
                return behaviour.add(Fault(**{**value, "body": value.get("body", "").encode("latin-1")}))
            case "clear":
                behaviour.clear()
            case "expire":
                behaviour.expired.update(value)
            case "renew":
                behaviour.expired.intersection_update(behaviour.expired - set(value) if value else ())
            case "log":
                return behaviour.log
            case "bucket":
                self._buckets.setdefault(value, Bucket())
            case "seed":
                data = value["data"].encode("latin-1")
                stored = Stored(data, hashlib.md5(data).hexdigest(), self._modified(), {})
                self._buckets[value["bucket"]].fill(value["keys"], stored)
            case "empty":
                return self._buckets[value["bucket"]].empty(value["prefix"])
            case "count":
                return sum(1 for _ in self._buckets[value["bucket"]].items(value["prefix"]))
            case "objects":
                found = self._buckets[value["bucket"]].items(value["prefix"])
                return {key: stored.data.decode("latin-1") for key, stored in found}
            case _:
                raise ValueError(f"no command {name}")
        return True


if __name__ == "__main__":
    main()
