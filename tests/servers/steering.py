"""Servers in memory as processes of their own: how tests steer and ask them, and how one is run.

    python -m servers.s3|gcs|azure [--port 0] [--port-file FILE] [--tls CERTIFICATE] [--bucket NAME]

runs one and prints its port. What can be done to requests is in `s3_rules.py`; `POST /_control` takes
the same as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import re
import signal
import socket
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from servers.messages import StoreConfig
from servers.process import server
from servers.s3_objects import Bucket
from servers.s3_rules import Behaviour, Fault

T = TypeVar("T")

#: Requests as a server logs them: seconds, method, decoded path and query, status, done.
Logged = tuple[float, str, str, int, bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Steered:
    """A running server. Whatever is set stays until it is set again.

    `put_credential` is the certificate that clients have to trust where it speaks TLS.
    """

    endpoint: str
    pid: int
    put_credential: Path | None = None

    def control(self, **wanted: Any) -> Any:
        """One request to the control endpoint; ValueError when it does not understand it."""
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.put_credential is not None:
            context = ssl.create_default_context(cafile=self.put_credential)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        opener = urllib.request.build_opener(*handlers)
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

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Puts one object, as somebody else would."""
        self.seed(bucket, [key], data)

    def describe(
        self,
        bucket: str,
        key: str,
        kept: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
        *,
        modified: str = "",
    ) -> None:
        """Sets what the store keeps of one object besides its bytes: see `Stored`."""
        wanted = {"kept": kept or {}, "tags": tags or {}, "modified": modified}
        self.control(describe={"bucket": bucket, "key": key, **wanted})

    def keep(self, bucket: str) -> None:
        """Remembers what a bucket holds, for `restore`."""
        self.control(keep=bucket)

    def restore(self, bucket: str) -> None:
        """The bucket as it was at `keep`: the same objects with the same tags and times."""
        self.control(restore=bucket)

    # -- how it behaves

    def set(self, **settings: Any) -> None:
        """latency_ms, kms (bool), conditions (honour, ignore, refuse), tags ({listed, answered}: a form
        of `tag_as`), page_size (None or a number), odd_pages (bool), anonymous (bool), log (bool), and
        cap: None or {rate, concurrency, method, retry_after}."""
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
        """Requests signed with these access keys, or with these access tokens, are told that they expired."""
        self.control(expire=list(keys))

    def renew(self, *keys: str) -> None:
        self.control(renew=list(keys))

    def clear(self) -> None:
        """Forgets all counts and rules."""
        self.control(clear=True)

    def reset(self) -> None:
        """As it was when it started, but for the objects."""
        self.set(latency_ms=0, kms=False, conditions="honour", tags={}, page_size=None, odd_pages=False)
        self.set(anonymous=True, log=True, cap=None)
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
def started(kind: type[T], module: str, *, tls: Path | None = None) -> Iterator[T]:
    """`module` as a process of its own until the block ends; `kind(endpoint, pid, put_credential)`.

    `tls` is a folder with `server.pem` and `ca.pem`.
    """
    with tempfile.TemporaryDirectory(prefix="server-") as folder:
        port = Path(folder) / "port"
        command = [sys.executable, "-m", module, "--port", "0", "--port-file", str(port)]
        if tls is not None:
            command += ["--tls", str(tls / "server.pem")]
        scheme, put_credential = ("http", None) if tls is None else ("https", tls / "ca.pem")
        tests = Path(__file__).parents[1]
        with server(command, ready=port.exists, env={"PYTHONPATH": str(tests)}) as process:
            yield kind(f"{scheme}://127.0.0.1:{port.read_text()}", process.pid, put_credential)  # type: ignore[call-arg]


def run(description: str, config: Callable[[Behaviour, Any], StoreConfig]) -> None:
    """The command line of a server. `config` gets how to behave and the clock of `s3_http`."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--port-file", type=Path, help="where its port is written once it listens")
    parser.add_argument("--tls", type=Path, help="certificate and key, in PEM")
    parser.add_argument("--bucket", action="append", default=[], help="one that is there from the start")
    arguments = parser.parse_args()
    import uvloop

    from servers.s3_http import Clock

    # Millions of objects that live as long as the process, and no cycles: looking for some is waste.
    gc.disable()
    behaviour, clock = Behaviour(), Clock()
    api = config(behaviour, clock)
    for name in arguments.bucket:
        api.buckets[name] = Bucket()
    uvloop.run(
        _serve(arguments.host, arguments.port, arguments.port_file, arguments.tls, api, behaviour, clock)
    )


async def _serve(
    host: str,
    port: int,
    port_file: Path | None,
    tls: Path | None,
    api: StoreConfig,
    behaviour: Behaviour,
    clock: Any,
) -> None:
    from servers.s3_http import Connection

    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    control = Control(api, behaviour)
    secure = None
    if tls is not None:
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(tls)
    listener = socket.create_server((host, port), backlog=4096)
    port = listener.getsockname()[1]
    cancellation_scope = await loop.create_server(
        lambda: Connection(api, behaviour, control, clock), sock=listener, ssl=secure
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    print(port, flush=True)
    if port_file is not None:
        part = port_file.with_suffix(".part")
        part.write_text(str(port))
        os.replace(part, port_file)
    await stopped.wait()
    cancellation_scope.close()


class Control:
    """What the control endpoint does: an object with any of the names below; answers the last one."""

    def __init__(self, api: StoreConfig, behaviour: Behaviour) -> None:
        self._api = api
        self._buckets = api.buckets
        self._behaviour = behaviour
        self._kept: dict[str, Bucket] = {}

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
                stored = self._api.stored(value["data"].encode("latin-1"))
                self._buckets[value["bucket"]].fill(value["keys"], stored)
            case "describe":
                bucket = self._buckets[value["bucket"]]
                found = bucket.get(value["key"])
                assert found is not None, value["key"]
                kept = {**found.kept, **value["kept"]}
                modified = value["modified"] or found.modified
                bucket.put(
                    value["key"],
                    dataclasses.replace(found, kept=kept, tags=value["tags"], modified=modified),
                )
            case "keep":
                self._kept[value] = self._buckets[value].copy()
            case "restore":
                self._buckets[value] = self._kept[value].copy()
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
