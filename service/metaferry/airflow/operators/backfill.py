"""The three parts of a backfill that is divided among mapped tasks: the plan, its shards, and the finish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from metaferry.airflow.operators.base import JobOperator
from metaferry.airflow.operators.leased import WritingOperator
from metaferry.airflow.task_log import unsigned
from metaferry.errors import UsageError
from metaferry.progress import Stopping

if TYPE_CHECKING:
    from metaferry.job.model import Job
    from metaferry.planning.formats import Report
    from metaferry.progress import Stop

#: Airflow's `max_map_length`: tasks that one `expand` may make, unless it is configured otherwise.
MOST_GROUPS: Final = 1024


class MetaferryPlanOperator(JobOperator):
    """Keeps the plan of a backfill, and splits it into one mapping for each mapped task.

    out: a folder or its URL, in place of one in the state folder; use `{{ run_id }}` or the like, so that
    each DAG run has its own. groups: mapped tasks at most, each with its shards. shards: at least so many,
    default one for 50,000 documents. The XCom is for `MetaferryShardOperator.partial(…).expand_kwargs(…)`;
    the URL of the plan is the XCom `plan`, for `MetaferryFinishOperator`, and the report the XCom `report`.
    A plan that a safety limit stopped fails the task without retries.
    """

    template_fields: Sequence[str] = (
        *JobOperator.template_fields,
        "out",
        "prefix",
        "limit",
        "groups",
        "shards",
    )

    def __init__(
        self,
        *,
        out: str | None = None,
        groups: int | str = 16,
        shards: int | str | None = None,
        prefix: str = "",
        limit: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(groups, int) and not 1 <= groups <= MOST_GROUPS:  # text is a template
            raise ValueError(f"groups should be 1 to {MOST_GROUPS}, is {groups}")
        self.out = out
        self.groups = groups
        self.shards = shards
        self.prefix = prefix
        self.limit = limit

    def execute(self, context: Any) -> list[dict[str, Any]]:
        from metaferry import plan

        most = self._number("groups", most=MOST_GROUPS) or 16
        limit, shards = self._number("limit"), self._number("shards")
        report = self._run(
            context,
            lambda job, stop: plan(
                job,
                prefix=self.prefix,
                limit=limit,
                out=None if self.out is None else unsigned(self.out),
                keep=self.out is None,
                shards=shards or most,
                progress=Stopping(self._progress, stop),
            ),
        )
        plan_url = self.out or report.report_url.removesuffix("/plan.json")
        self._push(context, {"plan": plan_url})
        groups = max(1, min(most, report.shards))
        return [{"plan": plan_url, "shard_index": index, "num_shards": groups} for index in range(groups)]


class MetaferryShardOperator(WritingOperator):
    """Writes the shards `s` of a kept plan for which `s % num_shards == shard_index`."""

    template_fields: Sequence[str] = (*JobOperator.template_fields, "plan")
    ends_run = False

    def __init__(self, *, plan: str, shard_index: int, num_shards: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.shard_index = shard_index
        self.num_shards = num_shards

    def _write(self, job: Job, stop: Stop) -> Report:
        from metaferry import sync

        return sync(
            job,
            plan=unsigned(self.plan),
            shard_index=self.shard_index,
            num_shards=self.num_shards,
            progress=self._progress,
            stop=stop,
        )


class MetaferryFinishOperator(WritingOperator):
    """Completes a backfill: deletes, then schema.json; fails while shards are missing, naming them.

    The plan is compared with what was written, not with the tasks that succeeded: Airflow silently
    leaves failed tasks out of a reduction. plan: as the XCom `plan` of the planning task. Outlets as of
    `MetaferrySyncOperator`.
    """

    template_fields: Sequence[str] = (*JobOperator.template_fields, "plan")

    def __init__(self, *, plan: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def _write(self, job: Job, stop: Stop) -> Report:
        from metaferry import finish

        if self.plan in ("", "None"):  # what a template makes of an XCom that is not there
            raise UsageError("there is no plan: the task that makes it has not come to its end")
        return finish(unsigned(self.plan), job=job, progress=self._progress, stop=stop)
