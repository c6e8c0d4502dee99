"""Dask as an executor: a cluster that is there already, or one of processes on this machine.

Only what every Dask has is used: its `concurrent.futures` executor, and `Client.run`, which reaches
every worker beside the tasks that keep it busy, to cancel them. Dask runs the shards of a worker that
died on another one, and gives up a shard whose worker dies several times.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

from metaferry.engines.cancellation import cancel
from metaferry.engines.shards import Workers
from metaferry.errors import MetaferryError, UsageError
from metaferry.version import __version__

log = logging.getLogger(__name__)

#: Seconds that a cluster gets to answer, and to show its first worker.
TIMEOUT: Final = 30.0
#: Seconds that a worker process of this machine gets to start; Dask itself would wait for ever.
START: Final = 120.0
#: Seconds that cancelling may take: a worker that does not answer stops with its lease.
_CANCEL_TIMEOUT: Final = 5.0


@contextlib.contextmanager
def dask_workers(address: str, *, scope: str, workers: int | None = None) -> Iterator[Workers]:
    """The workers of the cluster at `address`; "" starts `workers` processes here for as long as it lasts.

    Raises UsageError where Dask is not installed, where no scheduler answers at the address, and where the
    workers have no metaferry of this version.
    """
    distributed = _import()
    with contextlib.ExitStack() as opened:
        where: Any = address
        if not address:
            where = opened.enter_context(_local_cluster(distributed, workers or os.cpu_count() or 1))
        client = opened.enter_context(_client(distributed, where, address))
        threads = sum(client.nthreads().values())
        _same_version(client)
        executor = client.get_executor(pure=False)
        try:
            # Twice as many as can run: a worker that has done one need not wait for the next.
            yield Workers(
                executor,
                parallelism=max(1, threads),
                window=2 * max(1, threads),
                cancel=lambda: _cancel(client, scope),
                final=(distributed.scheduler.KilledWorker,),
            )
        finally:
            executor.shutdown(wait=False)


def _import() -> Any:
    """The library, which logs warnings only unless the user has configured its log."""
    try:
        import dask

        if "distributed" not in sys.modules and not dask.config.get("logging", None):
            dask.config.set(logging={"distributed": "warning"})
        import distributed
    except ImportError:
        raise UsageError(
            "--engine dask needs the package `distributed`, which is not installed",
            advice='python3 -m pip install "metaferry[dask]"',
        ) from None
    return distributed


@contextlib.contextmanager
def _local_cluster(distributed: Any, workers: int) -> Iterator[Any]:
    # One thread each: a shard is many requests at once already. Any port that is free for the dashboard.
    try:
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
            death_timeout=START,
        )
    except Exception as error:  # an AssertionError where one hangs, a RuntimeError where one ends
        raise MetaferryError(
            f"--engine dask: its worker processes cannot be started here ({type(error).__name__})",
            advice="stderr has their messages; `dask worker --help` shows whether Dask works on this machine",
        ) from error
    with cluster:
        yield cluster


@contextlib.contextmanager
def _client(distributed: Any, where: Any, address: str) -> Iterator[Any]:
    try:
        client = distributed.Client(where, set_as_default=False, timeout=TIMEOUT)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--engine dask: no scheduler answers at {address} ({type(error).__name__})",
            advice="write the scheduler's address as Dask prints it: --engine dask=tcp://HOST:8786",
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=TIMEOUT)
        except TimeoutError:
            raise MetaferryError(
                f"--engine dask: the cluster has shown no worker for {TIMEOUT:.0f} s",
                advice="start one: dask worker ADDRESS",
            ) from None
        yield client


def version() -> str:
    """The version of metaferry in this process."""
    return __version__


def _same_version(client: Any) -> None:
    answers = client.run(version, on_error="return")
    ours = version()
    for worker, theirs in sorted(answers.items()):
        if theirs != ours:
            found = f"has {theirs}" if isinstance(theirs, str) else f"has none ({type(theirs).__name__})"
            raise UsageError(
                f"--engine dask: metaferry {ours} is needed on the worker {worker}, which {found}",
                advice="install the same version of metaferry on every worker",
            )


def _cancel(client: Any, scope: str) -> None:
    """Cancels the scope in every worker, within `_CANCEL_TIMEOUT`."""
    cancelled = threading.Event()

    def request() -> None:
        with contextlib.suppress(Exception):  # a cluster that is shutting down may raise anything
            client.run(cancel, scope, on_error="ignore")
            cancelled.set()

    thread = threading.Thread(target=request, name="metaferry-cancel", daemon=True)
    thread.start()
    thread.join(_CANCEL_TIMEOUT)
    if not cancelled.is_set():
        log.warning("not every worker could be asked to stop; those end their shards first")
