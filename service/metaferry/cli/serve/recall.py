"""Reads the reports of earlier runs: `python -m metaferry.cli.serve.recall`, started by `child.py`.

A process of its own, like each run, so that the loop does not load the storage libraries. Reads its
request from stdin and writes the last report and the last good one, or null, to stdout.
"""

from __future__ import annotations

import json
import sys

from metaferry.cli.options import LogFormat
from metaferry.cli.session import Session
from metaferry.cli.show.failures import report_failure


def main() -> int:
    """Reads the reports; returns an exit code, with the reason in the log if they cannot be read."""
    request = json.loads(sys.stdin.readline())
    Session(quiet=request["quiet"], verbose=request["verbose"], log_format=LogFormat(request["log_format"]))
    from metaferry.job.model import Job
    from metaferry.runs.state.earlier import earlier_runs

    try:
        found = earlier_runs(Job.load(request["job"], request["sets"]))
    except BaseException as error:  # noqa: BLE001 - the loop starts without them
        return report_failure(error, ["--log-format", request["log_format"]])
    reports = {
        "last": found.last.to_dict() if found.last is not None else None,
        "good": found.good.to_dict() if found.good is not None else None,
    }
    sys.stdout.write(json.dumps(reports) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
