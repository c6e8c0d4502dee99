"""What metrics are sent to: a Pushgateway and an OTLP collector that keep what they got, and ports that
answer nothing.

The gateway does what the real one does with its two verbs: PUT replaces a group, POST replaces the
metrics of the same name within it. The collector decodes each request with OpenTelemetry's own messages.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from servers.background import http_server

#: A value by metric name and labels, those of the group included.
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class Gateway:
    """`groups` by path; `status` is what it answers; `asked` is (method, path, headers) of each request."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    groups: dict[str, Series] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.asked.append((request.method, request.raw_path, dict(request.headers)))
        if self.status != 200:
            return web.Response(status=self.status, headers=self.headers, text=str(request.headers))
        group = self.groups.setdefault(request.raw_path, {})
        pushed: Series = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }
        names = {name for name, _ in pushed}
        for key in list(group):
            if request.method == "PUT" or key[0] in names:
                del group[key]
        group.update(pushed)
        return web.Response()


@dataclass
class Collector:
    """`points` of each request: a value by metric name and attributes."""

    url: str = ""
    status: int = 200
    requests: list[Series] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.asked.append((request.method, request.raw_path, dict(request.headers)))
        if self.status != 200:
            return web.Response(status=self.status)
        message: Any = ExportMetricsServiceRequest.FromString(body)
        found: Series = {}
        for resource in message.resource_metrics:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.services.append(names["service.name"])
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.gauge.data_points:
                        labels = sorted((one.key, one.value.string_value) for one in point.attributes)
                        found[metric.name, tuple(labels)] = point.as_double
        self.requests.append(found)
        return web.Response(body=b"", content_type="application/x-protobuf")


@contextlib.contextmanager
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    with http_server(made.answer) as url:
        made.url = url
        yield made


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    made = Collector()
    with http_server(made.answer) as url:
        made.url = url
        yield made


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as cancellation_scope:
        taken: list[socket.socket] = []

        def take() -> None:
            with contextlib.suppress(OSError):  # it was closed
                while True:
                    taken.append(cancellation_scope.accept()[0])

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{cancellation_scope.getsockname()[1]}"
        finally:
            cancellation_scope.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in taken:
                one.close()
