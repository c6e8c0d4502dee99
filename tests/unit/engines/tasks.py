"""Tasks for workers in other processes, which import them from here."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaferry.engines.cancellation import cancellation_scope
from metaferry.errors import Denied


@dataclass(frozen=True)
class Order:
    shard: int
    folder: Path
    scope: str = ""
    what: str = "answer"


def work(task: Order) -> dict[str, Any]:
    """Leaves a file for each attempt, then does what the order says."""
    attempts = len(list(task.folder.glob(f"{task.shard}-*")))
    (task.folder / f"{task.shard}-{attempts}").touch()
    if task.what == "die" or (task.what == "die once" and not attempts):
        os.kill(os.getpid(), signal.SIGKILL)
    if task.what == "raise":
        raise RuntimeError("canary-secret-0815")
    if task.what == "denied":
        raise Denied("no right to write", url="s3://b", path="x")
    if task.what == "log":
        logging.getLogger("metaferry.task").info("not this")
        logging.getLogger("metaferry.task").warning("of shard %d", task.shard)
    if task.what == "unpicklable":
        return {"shard": lambda: None}
    if task.what == "wait":
        with cancellation_scope(task.scope) as stop:
            heard = signal_of(stop)
            return {"shard": task.shard, "heard": heard}
    return {"shard": task.shard, "pid": os.getpid()}


def signal_of(stop: Any) -> bool:
    """Waits for the cancellation, half a minute at most."""
    import threading

    cancelled = threading.Event()
    stop.listen(cancelled.set)
    return cancelled.wait(30)


def log_in_shard(task: Any) -> dict[str, Any]:
    """Writes a shard, and logs a secret of its job where the shard's documents are written."""
    import logging
    from unittest import mock

    from metaferry.runs.sharded.plan_run import PlanRun
    from metaferry.runs.sharded.task import write_shard

    honest = PlanRun.write_shard

    def telling(run: PlanRun, *given: Any, **more: Any) -> Any:
        secret = run.job.storage["s3"]["secret"]
        logging.getLogger("metaferry.storage").warning("in the shard with %s", secret)
        return honest(run, *given, **more)

    with mock.patch.object(PlanRun, "write_shard", telling):
        return write_shard(task)
