"""An HTTP server that says, byte for byte, what a test wants: well or badly."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
from collections.abc import Callable
from typing import BinaryIO


class Server:
    """Answers the requests that come with `say`, in order: pieces of bytes; None closes the connection. Where
    there is nothing to say, `usual` makes an answer out of head and body."""

    def __init__(self, usual: Callable[[bytes, bytes], bytes], tls: ssl.SSLContext | None = None) -> None:
        self._usual = usual
        self.say: queue.Queue[list[bytes | None]] = queue.Queue()
        self.heads: list[bytes] = []
        self.connections = 0
        self.bodies: list[bytes] = []
        self.hold = threading.Event()  # set: what is to be said is not the end of an answer
        self.drip = threading.Event()  # set: after it a header more, again and again
        self.asked = threading.Event()  # set by the first request
        self.early = False  # answers before it has read the body
        self._tls = tls
        self._scopes = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._scopes.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._scopes.shutdown(socket.SHUT_RDWR)
        self._scopes.close()
        self.drop()
        for thread in self._threads:
            thread.join(10)

    def drop(self) -> None:
        """Closes what is open, as servers do with idle connections."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._scopes.accept()
                self.connections += 1
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as stream:
                while request := self._request(stream):
                    head, body = request
                    self.heads.append(head)
                    self.asked.set()
                    scripted = not self.say.empty()
                    for piece in self.say.get() if scripted else [self._usual(head, body)]:
                        if piece is None:
                            return
                        connection.sendall(piece)
                    while scripted and self.drip.is_set():
                        connection.sendall(b"X-Another: header\r\n")
                        threading.Event().wait(0.02)
                    while scripted and self.hold.is_set():
                        if not stream.read(1):
                            return

    def _request(self, stream: BinaryIO) -> tuple[bytes, bytes] | None:
        lines = []
        while (line := stream.readline()) not in (b"\r\n", b""):
            lines.append(line)
        if not lines:
            return None
        head = b"".join(lines)
        length = head.lower().partition(b"\ncontent-length:")[2].split()
        body = b""
        if length and not self.early:
            body = stream.read(int(length[0]))
            self.bodies.append(body)
        return head, body
