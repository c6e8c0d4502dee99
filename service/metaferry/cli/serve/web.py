"""`/healthz`, `/metrics` and `/report` over HTTP, in threads of their own. Answers GET and HEAD, no body."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from metaferry.cli.serve.status import Status
from metaferry.errors import MetaferryError
from metaferry.runs.metrics.exposition import registry

#: Seconds that a client has to send its request.
_TIMEOUT: Final = 10.0


@contextmanager
def http_server(
    status: Status,
    host: str,
    port: int,
    page: Path | None = None,
    *,
    run_process: Callable[[], int | None] = lambda: None,
) -> Iterator[str]:
    """Serves until the block ends; yields the address. MetaferryError if the port cannot be used.

    page: a file that is shown at `/report`, once it is there. run_process: the id of the process of the run
    under way, for metrics of it beside those of this process.
    """
    from prometheus_client import ProcessCollector
    from prometheus_client.exposition import choose_encoder

    metrics = registry(status.families)
    ProcessCollector(registry=metrics)
    # There is nothing below /proc/none: between runs such metrics are absent.
    ProcessCollector("metaferry_run", lambda: run_process() or "none", registry=metrics)

    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT
        server_version = "metaferry"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].rstrip("/")
            if path == "/metrics":
                encode, kind = choose_encoder(self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, kind, encode(metrics))
                return
            if path == "/report" and page is not None:
                try:
                    self._answer(HTTPStatus.OK, "text/html; charset=utf-8", page.read_bytes())
                except FileNotFoundError:
                    missing = b"no run has left a page yet\n"
                    self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", missing)
                return
            live, ready, account = status.health()
            good = {"/healthz": live, "/healthz/live": live, "/healthz/ready": ready}.get(path)
            if good is None:
                known = "/healthz, /healthz/live, /healthz/ready and /metrics are here"
                self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", f"{known}\n".encode())
                return
            body = json.dumps(account, ensure_ascii=False).encode() + b"\n"
            self._answer(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, "application/json", body)

        do_HEAD = do_GET

        def _answer(self, code: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Probes come every few seconds: they are not logged."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that disconnects is no error."""

    try:
        server = Server((host, port), Handler)
    except OSError as error:
        raise MetaferryError(
            f"port {port} of {host} cannot be used: {error.strerror or 'no such address'}",
            advice="name another with --port, or --port 0 for any",
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="metaferry-http", daemon=True)
    thread.start()
    shown = f"[{host}]" if ":" in host else host
    try:
        yield f"http://{shown}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
