"""Runs one long statement so that the run can be cancelled meanwhile. It knows nothing of queries."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import duckdb

#: Seconds between two looks at whether the run is to end.
_LOOK: Final = 0.2


def run_interruptible(
    con: duckdb.DuckDBPyConnection, statement: str, still_wanted: Callable[[], None]
) -> None:
    """Executes a statement in a thread, so that this one receives signals and can ask `still_wanted`.

    Whatever `still_wanted` raises interrupts the statement, and is raised once the engine has left it.
    """
    failed: list[BaseException] = []
    done = threading.Event()

    def execute() -> None:
        try:
            con.execute(statement).fetchall()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            failed.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=execute, name="metaferry-query")
    thread.start()
    try:
        while not done.wait(_LOOK):
            still_wanted()
    except BaseException:
        while not done.wait(_LOOK):  # an interrupt before the statement began would be lost
            con.interrupt()
        raise
    finally:
        thread.join()
    if failed:
        raise failed[0]
