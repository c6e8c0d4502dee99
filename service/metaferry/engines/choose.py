"""From the name of an engine to its workers: `local`, `dask`, `dask=ADDRESS`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from metaferry.engines.pool import ProcessPool
from metaferry.engines.shards import Workers
from metaferry.errors import UsageError

LOCAL: Final = "local"


def check_engine(name: str) -> str:
    """The name itself. UsageError for what is no engine."""
    kind, mark, address = name.partition("=")
    if kind == "dask" and (not mark or "://" in address):
        return name
    if name != LOCAL:
        raise UsageError(
            f"--engine should be local, dask or dask=ADDRESS, is {name!r}",
            advice="an address is what the scheduler prints: dask=tcp://HOST:8786",
        )
    return name


@contextlib.contextmanager
def open_workers(name: str, *, scope: str, workers: int | None, grace: float) -> Iterator[Workers]:
    """The workers of an engine while the block runs.

    `workers` is how many processes of this machine there are to be, where they are started here (None:
    one a core). Raises UsageError where the engine cannot be had.
    """
    kind, _, address = check_engine(name).partition("=")
    if kind == "dask":
        from metaferry.engines.dask_cluster import dask_workers

        with dask_workers(address, scope=scope, workers=workers) as found:
            yield found
        return
    executor = ProcessPool(workers or 1, scope=scope, grace=grace)
    try:
        yield Workers(executor, parallelism=workers or 1, window=workers or 1, cancel=executor.cancel)
    finally:
        executor.shutdown()
