"""A relay before a server of a database that breaks connections: each after so many bytes of what the
server says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass
class Relay:
    """Where it listens, and how many connections came."""

    port: int
    connections: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self) -> int:
        """Counts one connection; its number from 0."""
        with self._lock:
            self.connections += 1
            return self.connections - 1


@contextlib.contextmanager
def relay(port: int, cut_after: Sequence[int | None]) -> Iterator[Relay]:
    """Relays to a port of this machine. Connection number n breaks after `cut_after[n]` bytes; of None, and
    later ones, none does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = Relay(listening.getsockname()[1])
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                number = found.count()
                limit = cut_after[number] if number < len(cut_after) else None
                thread = threading.Thread(target=_serve, args=(client, port, limit))
                thread.start()
                threads.append(thread)

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield found
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def _serve(client: socket.socket, port: int, limit: int | None) -> None:
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        back = threading.Thread(target=_pump, args=(server, client, limit))
        back.start()
        _pump(client, server, None)
        back.join()


def _pump(source: socket.socket, target: socket.socket, limit: int | None) -> None:
    """Passes bytes on until one side ends, or `limit` of them have passed; then nothing more passes either
    way."""
    passed = 0
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            if limit is not None and passed + len(data) > limit:
                target.sendall(data[: limit - passed])
                break
            target.sendall(data)
            passed += len(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
