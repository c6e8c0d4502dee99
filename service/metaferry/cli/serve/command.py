"""Puts `metaferry serve` together: the job, the port, the loop; one line of output for each run."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from metaferry.cli.options import LogFormat
from metaferry.cli.serve.child import Finished, Runner, RunRequest
from metaferry.cli.serve.loop import Alarm, serve
from metaferry.cli.serve.schedule import Schedule, jitter_of
from metaferry.cli.serve.status import Status
from metaferry.cli.serve.web import http_server
from metaferry.cli.session import Session
from metaferry.cli.show.text import count, duration, safe
from metaferry.cli.signals import stopping

_WORDS: Final = {
    0: "done",
    1: "failed",
    2: "failed",
    3: "done, but not everything",
    5: "stopped by a limit",
    11: "not done: another run holds the lease",
    130: "interrupted",
    143: "interrupted",
}
_DONE: Final = {"create": "created", "update": "updated", "delete": "deleted", "keep": "kept"}
_TROUBLE: Final = ("failed", "conflict", "deferred")


def serve_job(
    session: Session,
    job: Path,
    sets: tuple[str, ...],
    schedule: Schedule,
    *,
    jitter: str | None,
    host: str,
    port: int,
    verbose: int,
    log_format: LogFormat,
    report: bool = False,
) -> int:
    """Serves until a signal; returns the exit code. Errors in flags or job are raised before any run.

    report: each run makes its page, and the last one is at `/report`.
    """
    from metaferry.job.model import Job
    from metaferry.runs.metrics.push import require_library
    from metaferry.version import __version__

    if report:
        sets = (*sets, "report.html=true")

    def now() -> datetime:
        return datetime.now(UTC)

    # Read to report its faults and for its label; each run reads it anew.
    first = Job.load(job, sets)
    require_library(first)
    jitter_of(jitter, 1.0)
    status = Status(first.label, __version__, now, steady)

    def tell(finished: Finished) -> None:
        if session.as_json:
            line = {**finished.report, "error": finished.error, "advice": finished.advice}
            session.show_json(line, line=True)
        else:
            session.show([summary(finished)])

    with _page_folder(report) as page, stopping(session.say) as stop, ExitStack() as stack:
        request = RunRequest(str(job), sets, session.quiet, verbose, log_format.value, str(page or ""))
        runner = Runner(request, stop, now=now)
        address = stack.enter_context(
            http_server(status, host, port, page, run_process=lambda: runner.process)
        )
        also = f", {address}/report" if page else ""
        session.say(f"{safe(first.label)}: serving {address}/healthz and {address}/metrics{also}")
        alarm = Alarm(stop)
        earlier = runner.recall()
        if earlier is not None:
            status.recalls(*earlier)
        serve(
            schedule,
            runner.run,
            jitter=lambda period: jitter_of(jitter, period),
            status=status,
            tell=tell,
            stop=stop,
            wait=alarm.wait,
            now=now,
            clock=steady,
            random=random.SystemRandom(),
        )
        return 128 + (stop.signal or signal.SIGINT)


@contextmanager
def _page_folder(wanted: bool) -> Iterator[Path | None]:
    """Where runs leave their page for this process; None where it is not wanted."""
    if not wanted:
        yield None
        return
    with TemporaryDirectory(prefix="metaferry-page-") as folder:
        yield Path(folder) / "report.html"


def steady() -> float:
    """A clock that cannot be set; where the system has one, it also counts while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def summary(finished: Finished) -> str:
    """A run as one line: start, result, duration, counts of documents."""
    report, code = finished.report, finished.exit_code
    documents = report["documents"]
    counts = [f"{documents[name]:,} {word}" for name, word in _DONE.items()]
    counts += [f"{documents[name]:,} {name}" for name in _TROUBLE if documents[name]]
    rejected = sum(source["rejected"] for source in report["sources"])
    counts += [f"{count(rejected, 'row')} rejected"] if rejected else []
    how = f"{_WORDS.get(code, 'failed')} (exit code {code})"
    line = (
        f"{finished.started:%Y-%m-%dT%H:%M:%SZ}  {how} in {duration(finished.seconds)}: {', '.join(counts)}"
    )
    why = finished.error or report["stopped"]
    if why:
        line += f"; {' '.join(why.split())}"
    return safe(line + (f"  [{report['run_id']}]" if report["run_id"] else ""))
