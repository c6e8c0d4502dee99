"""The operator that removes a stuck lease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metaferry.airflow.operators.base import JobOperator


class MetaferryUnlockOperator(JobOperator):
    """Removes the lease of the job's datasource; its XCom says whose it was, and how old.

    run_id: removes the lease only where it is that run's, such as the XCom `run_id` of a task that failed;
    where it is another's, the task fails. Without it the lease goes, whoever holds it: a run that does stops
    writing. No lease is no failure. A task that drained or was killed on its own machine needs no unlock.
    """

    template_fields: Sequence[str] = (*JobOperator.template_fields, "run_id")

    def __init__(self, *, run_id: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_id = run_id

    def execute(self, context: Any) -> dict[str, Any]:
        from metaferry import unlock

        # "None" is what a template makes of an XCom that is not there. No run has that id, so nothing goes.
        run_id = str(self.run_id)
        unlocked = self._call(lambda job, stop: unlock(job, run_id=run_id))
        if unlocked.holder is None:
            self.log.info("metaferry: %s: there is no lease", unlocked.url)
        else:
            self.log.warning(
                "metaferry: %s: removed the lease of %s, %s",
                unlocked.url,
                unlocked.holder.name,
                unlocked.held,
            )
        return unlocked.to_dict()
