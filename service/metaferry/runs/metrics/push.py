"""Sends the figures of a run to a Pushgateway and to an OpenTelemetry collector, when it has ended.

A push that fails changes nothing of the run: both have the job's `metrics.timeout` together, and a
failure is one warning each. Neither follows a redirect, which could send the credentials of the URL to
another host, and no message quotes a server or a library.
"""

from __future__ import annotations

import base64
import http.client
import importlib.util
import logging
import os
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from metaferry.errors import UsageError, exit_code
from metaferry.job.model import Job
from metaferry.masking import showable
from metaferry.planning.formats import Report, SourceCounts
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.metrics.exposition import SERVICE, gauges, otlp_request, registry
from metaferry.runs.metrics.figures import GOOD, JOB_LABEL, Ended, Samples, samples

log = logging.getLogger(__name__)

_PROTOBUF: Final = "application/x-protobuf"
#: Where a collector takes metrics, and the variables that name headers for it.
_OTLP_PATH: Final = "/v1/metrics"
_OTLP_HEADERS: Final = ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")


@dataclass(slots=True)
class Account:
    """What is sent at the end of a block of `published`: the newest report."""

    report: Report


@contextmanager
def published(job: Job, report: Report, deps: RuntimeDeps) -> Iterator[Account]:
    """Sends the figures of the account's report when the block ends, however it ends.

    Raises UsageError at once where a collector is named and the extra `otlp` is not installed.
    """
    require_library(job)
    begun = deps.clock()
    if not report.sources:
        # A run that fails before it reads a table has figures of its sources too: zeros.
        report.sources = [SourceCounts(source.label) for source in job.sources]
    account = Account(report)
    try:
        yield account
    except BaseException as error:
        account.report.exit_code = account.report.exit_code or exit_code(error)
        raise
    finally:
        now = deps.now()
        report = account.report
        report.finished = report.finished or now.isoformat(timespec="seconds")
        if job.metrics.targets:
            publish(job, report.to_dict(), Ended(now.timestamp(), deps.clock() - begun))


def publish(job: Job, report: Mapping[str, Any], ended: Ended) -> None:
    """Sends the figures of one run to all targets of the job, at once, within its timeout."""
    from metaferry.version import __version__

    found = samples(report, ended, version=__version__)
    tasks: dict[str, Callable[[str], None]] = {
        "gateway": lambda url: _push(url, job, found),
        "otlp": lambda url: _export(url, job, found, ended.at),
    }
    outcomes: dict[str, str] = {}

    def send(name: str, url: str) -> None:
        try:
            tasks[name](url)
            outcomes[name] = ""
        except Exception as error:  # noqa: BLE001 - a figure that is not sent must not end a run
            outcomes[name] = _why(error)

    # Threads that may be left behind: a time-out of a socket bounds one answer, not a trickle of them.
    threads = [
        threading.Thread(target=send, args=target, name=f"metaferry-{target[0]}", daemon=True)
        for target in job.metrics.targets.items()
    ]
    until = time.monotonic() + job.metrics.timeout
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    for name, url in job.metrics.targets.items():
        why = outcomes.get(name, f"no answer within {job.metrics.timeout:g} s")
        if why:
            log.warning("the metrics of this run were not sent to %s: %s", showable(url), why)


def require_library(job: Job) -> None:
    """Raises UsageError where the job names a collector and the extra `otlp` is not installed."""
    if job.metrics.otlp is None:
        return
    for module in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.common"):
        try:
            there = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # a package above it is missing
            there = False
        if not there:
            raise UsageError(
                "metrics.otlp needs the OpenTelemetry libraries, which are not installed",
                advice='install them with pip install "metaferry[otlp]", or take metrics.otlp out',
            )


def _push(url: str, job: Job, found: Samples) -> None:
    from prometheus_client import push_to_gateway, pushadd_to_gateway

    target, credentials = _without_credentials(url)

    def handler(
        url: str, method: str, timeout: float | None, headers: list[tuple[str, str]], data: bytes
    ) -> Callable[[], None]:
        return lambda: _request(method, url, data, {**dict(headers), **credentials}, job.metrics.timeout)

    code = found["metaferry_last_run_exit_code"][()]
    # A failed run keeps the time of the last good one in the gateway; a good one replaces everything.
    push = push_to_gateway if code in GOOD else pushadd_to_gateway
    made = registry(lambda: gauges(found, label=job.label))
    push(target, SERVICE, made, grouping_key={JOB_LABEL: job.label}, handler=handler)


def _export(url: str, job: Job, found: Samples, at: float) -> None:
    target, credentials = _without_credentials(url)
    if urllib.parse.urlsplit(target).path in ("", "/"):
        target = urllib.parse.urlunsplit(urllib.parse.urlsplit(target)._replace(path=_OTLP_PATH))
    body = otlp_request(found, label=job.label, at=at)
    headers = {"Content-Type": _PROTOBUF, **_headers(), **credentials}
    _request("POST", target, body, headers, job.metrics.timeout)


def _headers() -> dict[str, str]:
    """The headers that OpenTelemetry's own variables give."""
    from opentelemetry.util.re import parse_env_headers

    text = next((os.environ[name] for name in _OTLP_HEADERS if os.environ.get(name)), "")
    return dict(parse_env_headers(text, liberal=True))


def _without_credentials(url: str) -> tuple[str, dict[str, str]]:
    """The URL without its user and password, and the header that says them."""
    parts = urllib.parse.urlsplit(url)
    user, mark, host = parts.netloc.rpartition("@")
    if not mark:
        return url, {}
    name, _, password = user.partition(":")
    pair = f"{urllib.parse.unquote(name)}:{urllib.parse.unquote(password)}"
    header = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return urllib.parse.urlunsplit(parts._replace(netloc=host)), {"Authorization": header}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *request: Any) -> None:
        return None


def _request(method: str, url: str, data: bytes, headers: Mapping[str, str], timeout: float) -> None:
    request = urllib.request.Request(url, data=data, headers=dict(headers), method=method)
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout) as answer:
        answer.read()


def _why(error: Exception) -> str:
    """What went wrong, without the message of the library or the server, which may quote a URL."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"it answered with status {error.code}"
    reason: object = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, ConnectionRefusedError):
        return "connection refused"
    if isinstance(reason, socket.gaierror):
        return "its name is not known"
    if isinstance(reason, OSError) and reason.errno is not None:
        return f"it cannot be reached: {os.strerror(reason.errno)}"
    if isinstance(reason, http.client.HTTPException):
        return "its response is not HTTP"
    return type(reason).__name__
