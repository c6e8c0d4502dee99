"""The operator of a sync."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from metaferry.airflow.operators.base import JobOperator
from metaferry.airflow.operators.leased import WritingOperator

if TYPE_CHECKING:
    from metaferry.job.model import Job
    from metaferry.planning.formats import Report
    from metaferry.progress import Stop


class MetaferrySyncOperator(WritingOperator):
    """Brings the documents in line with the tables; its XCom is the report without examples.

    prefix, limit: as of `metaferry.sync`. fail_on_rejects: an older name of `policy.rejects_fail`, over that
    of the job. deferrable, skip_on_no_change and outlets: as of `WritingOperator`.
    """

    template_fields: Sequence[str] = (*JobOperator.template_fields, "prefix", "limit")

    def __init__(
        self,
        *,
        prefix: str = "",
        limit: int | str | None = None,
        fail_on_rejects: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prefix = prefix
        self.limit = limit
        self.fail_on_rejects = fail_on_rejects

    def _write(self, job: Job, stop: Stop) -> Report:
        from metaferry import sync

        return sync(job, prefix=self.prefix, limit=self._number("limit"), progress=self._progress, stop=stop)

    def _overrides(self) -> list[str]:
        given = super()._overrides()
        if self.fail_on_rejects is not None:
            given.append(f"policy.rejects_fail={str(self.fail_on_rejects).lower()}")
        return given
