"""What `serve` knows of earlier runs: `python -m metaferry.cli.serve.recall`, started by `child.py`.

A process of its own as each run is, so that the libraries that it loads are not those of the loop. Reads
its order from stdin, and says on stdout the last report and the last good one, or null.
"""

from __future__ import annotations

import json
import sys

from metaferry.cli.options import LogFormat
from metaferry.cli.session import Session
from metaferry.cli.show.failures import report_failure


def main() -> int:
    """Reads the reports; 1 where they cannot be read, with the reason in the log."""
    order = json.loads(sys.stdin.readline())
    Session(quiet=order["quiet"], verbose=order["verbose"], log_format=LogFormat(order["log_format"]))
    from metaferry.job.model import Job
    from metaferry.runs.state.earlier import earlier_runs

    try:
        found = earlier_runs(Job.load(order["job"], order["sets"]))
    except BaseException as error:  # noqa: BLE001 - the loop begins without them
        return report_failure(error, ["--log-format", order["log_format"]])
    reports = {
        "last": found.last.to_dict() if found.last is not None else None,
        "good": found.good.to_dict() if found.good is not None else None,
    }
    sys.stdout.write(json.dumps(reports) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
