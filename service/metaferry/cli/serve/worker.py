"""The process of one run of `serve`: `python -m metaferry.cli.serve.worker`, started by `child.py`.

Reads its request from stdin, does what `metaferry sync` does, and writes the report to stdout, also that
of a failed run. When stdin closes, the loop is gone, and the run drains as after SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from typing import Any

from metaferry.cli.options import LogFormat
from metaferry.cli.session import Session
from metaferry.cli.show.failures import report_failure


def main() -> int:
    """Does the run; returns its exit code."""
    # Unbuffered: a thread that waits in a buffered read would delay the end of the process.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stdin:
        request = json.loads(stdin.readline())
    session = Session(
        quiet=request["quiet"], verbose=request["verbose"], log_format=LogFormat(request["log_format"])
    )
    from metaferry.job.model import Job
    from metaferry.planning.formats import RunReport
    from metaferry.view.report import after_sync

    report = RunReport(run_id="", job_digest="", started=datetime.now(UTC).isoformat(timespec="seconds"))
    error, advice = "", ""
    try:
        with session.running() as (progress, stop):
            threading.Thread(target=_watch, daemon=True).start()
            job = Job.load(request["job"], request["sets"])
            after_sync.sync(job, report=report, progress=progress, stop=stop, copy=request["page"])
    except BaseException as failure:  # noqa: BLE001 - passed on to the loop
        # The loop shows the error in the line of the run; this writes it to the log.
        report.exit_code = report_failure(failure, _flags(request))
        error, advice = (
            str(getattr(failure, "message", type(failure).__name__)),
            str(getattr(failure, "advice", "")),
        )
    sys.stdout.write(json.dumps({"report": report.to_dict(), "error": error, "advice": advice}) + "\n")
    sys.stdout.flush()
    return report.exit_code


def _watch() -> None:
    """Waits for the end of stdin, then asks the run to drain."""
    while os.read(sys.stdin.fileno(), 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _flags(request: dict[str, Any]) -> list[str]:
    return ["--log-format", request["log_format"], *["--verbose"] * request["verbose"]]


if __name__ == "__main__":
    sys.exit(main())
