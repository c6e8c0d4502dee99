"""Metrics in two forms: Prometheus metric families, and OTLP.

The libraries are imported by the functions that need them. Nothing here opens a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from metaferry.runs.metrics.figures import JOB_LABEL, METRICS, Metric, Samples

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

#: The service name that a collector gets.
SERVICE: Final = "metaferry"

Values = dict[tuple[str, ...], float]


def gauges(found: Samples, *, label: str) -> Iterator[Family]:
    """A run's values as gauges, each with the label of the job first."""
    from prometheus_client.core import GaugeMetricFamily

    for metric in METRICS:
        if metric.name in found:
            yield _filled(GaugeMetricFamily, metric, found[metric.name], label)


def counters(totals: Iterable[tuple[Metric, Values]], *, label: str) -> Iterator[Family]:
    """Counters in the same form."""
    from prometheus_client.core import CounterMetricFamily

    for metric, values in totals:
        yield _filled(CounterMetricFamily, metric, values, label)


def registry(families: Callable[[], Iterable[Family]]) -> CollectorRegistry:
    """A registry of what `families` returns, called at every scrape."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    class CallbackCollector(Collector):
        def collect(self) -> Iterable[Family]:
            return families()

    made = CollectorRegistry()
    made.register(CallbackCollector())
    return made


def _filled(kind: Any, metric: Metric, values: Values, label: str) -> Family:
    family = kind(metric.name, metric.help, labels=(JOB_LABEL, *metric.labels))
    for labels, value in values.items():
        family.add_metric((label, *labels), value)
    filled: Family = family
    return filled


def otlp_request(found: Samples, *, label: str, at: float) -> bytes:
    """The body of one request to a collector: the same gauges, under the same names.

    at: Unix seconds of the points. Needs the extra `otlp`; OTEL_RESOURCE_ATTRIBUTES holds.
    """
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.sdk.metrics import export as sdk
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    nanoseconds = int(at * 1e9)
    metrics = [
        sdk.Metric(
            name=metric.name,
            description=metric.help,
            unit="s" if metric.name.endswith("_seconds") else "1",
            data=sdk.Gauge(
                data_points=[
                    sdk.NumberDataPoint(
                        attributes={JOB_LABEL: label, **dict(zip(metric.labels, labels, strict=True))},
                        start_time_unix_nano=nanoseconds,
                        time_unix_nano=nanoseconds,
                        value=float(value),
                    )
                    for labels, value in found[metric.name].items()
                ]
            ),
        )
        for metric in METRICS
        if metric.name in found
    ]
    scope = sdk.ScopeMetrics(scope=InstrumentationScope(SERVICE), metrics=metrics, schema_url="")
    resource = Resource.create({"service.name": SERVICE})
    whole = sdk.ResourceMetrics(resource=resource, scope_metrics=[scope], schema_url="")
    body: bytes = encode_metrics(sdk.MetricsData(resource_metrics=[whole])).SerializeToString()
    return body
