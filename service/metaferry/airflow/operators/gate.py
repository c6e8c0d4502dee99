"""The operator of a plan as a gate: what comes after it runs only where a sync would change something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metaferry.airflow.events import has_changed, withhold_events
from metaferry.airflow.operators.base import JobOperator
from metaferry.airflow.running import summary
from metaferry.airflow.versions import AirflowFailException, AirflowSkipException
from metaferry.progress import Stopping


class MetaferryGateOperator(JobOperator):
    """Plans, and writes nothing; its XCom is the report of the plan without examples.

    Where a sync would change nothing the task is skipped, and with it what comes after it
    (`skip_on_no_change=False`: it succeeds). Where a safety limit of the job's policy would stop the sync, or
    it would create, update and delete more than `max_changes` documents, the task fails without retries.
    prefix, limit: as of `metaferry.plan`. Outlets make no event.
    """

    template_fields: Sequence[str] = (*JobOperator.template_fields, "prefix", "limit", "max_changes")

    def __init__(
        self,
        *,
        prefix: str = "",
        limit: int | str | None = None,
        max_changes: int | str | None = None,
        skip_on_no_change: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prefix = prefix
        self.limit = limit
        self.max_changes = max_changes
        self.skip_on_no_change = skip_on_no_change

    def execute(self, context: Any) -> dict[str, Any]:
        from metaferry import plan

        limit, most = self._number("limit"), self._number("max_changes")
        withhold_events(self, context)
        report = self._run(
            context,
            lambda job, stop: plan(
                job, prefix=self.prefix, limit=limit, progress=Stopping(self._progress, stop)
            ),
        )
        if most is not None and report.changes > most:
            documents = report.documents
            raise AirflowFailException(
                f"a sync would change {report.changes} documents, more than max_changes={most}: "
                f"{documents.create} created, {documents.update} updated, {documents.delete} deleted"
            )
        if self.skip_on_no_change and not has_changed(report):
            raise AirflowSkipException("a sync would change nothing")
        return summary(report)
