"""The operators: a sync, the three parts of a backfill that is divided among mapped tasks, and an export.

Each reads the job, calls one function of the library and turns its report into XCom, asset events and
Airflow's exceptions. An error that another attempt cannot fix (job file, safety limit) fails the task
without retries; any other may be retried, and a retry does what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from metaferry.airflow.job_files import read_job_file
from metaferry.airflow.running import Task, counts, in_a_task, summary
from metaferry.airflow.task_log import finding_lines, in_airflow, whole_number
from metaferry.airflow.task_log import unsigned as _unsigned
from metaferry.airflow.versions import (
    AirflowException,
    AirflowFailException,
    Asset,
    AssetAlias,
    BaseHook,
    BaseOperator,
)
from metaferry.errors import MetaferryError, SafetyStop, UsageError
from metaferry.progress import Progress, Silent, Stop, Stopping

if TYPE_CHECKING:
    from metaferry.job.model import Job
    from metaferry.planning.formats import Report

T = TypeVar("T")

#: Airflow's `max_map_length`: tasks that one `expand` may make, unless it is configured otherwise.
MOST_GROUPS: Final = 1024

#: Invalid documents that the log, and the XCom of an export, name.
_NAMED: Final = 10


class _Operator(BaseOperator):
    """What the operators share.

    job: the path of a job file as the worker sees it, its URL (read with the connections below), an
    ObjectStoragePath, or the mapping; relative paths in all but the first are to the worker's working
    directory. overrides: `key=value` over it, as `--set`. aws_conn_id, gcp_conn_id, azure_conn_id:
    connections whose credentials become the job's options for `s3`, `gs` and `az`, over those that it has;
    one that does not exist, or has a field that cannot be translated, fails the task.
    """

    template_fields: Sequence[str] = (
        "job",
        "overrides",
        "aws_conn_id",
        "gcp_conn_id",
        "azure_conn_id",
    )
    template_fields_renderers = {"job": "yaml", "overrides": "json"}  # noqa: RUF012 - Airflow's own shape
    ui_color = "#d5e8d4"

    def __init__(
        self,
        *,
        job: Any,
        overrides: Sequence[str] = (),
        aws_conn_id: str | None = None,
        gcp_conn_id: str | None = None,
        azure_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.overrides = overrides
        self.aws_conn_id = aws_conn_id
        self.gcp_conn_id = gcp_conn_id
        self.azure_conn_id = azure_conn_id
        self._task: Task | None = None
        self._progress: Progress = Silent()

    def on_kill(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self, call: Callable[[Job, Stop], Report]) -> Report:
        """Calls the library; returns the report of a run, or raises what fails the task."""
        report = self._call(call)
        self._check(report)
        return report

    def _call(self, call: Callable[[Job, Stop], T]) -> T:
        """What the library answers; its errors as those of Airflow."""
        # Set before the job is read, so that no signal is lost meanwhile.
        self._task = task = Task()
        from metaferry.cli.show.progress import Lines

        try:
            job = self._read_job()
            with Lines(self._say) as self._progress:
                return task.run(lambda stop: call(job, stop))
        except (UsageError, SafetyStop) as error:
            raise AirflowFailException(_text(error)) from None
        except MetaferryError as error:
            raise AirflowException(_text(error)) from None
        finally:
            self._task, self._progress = None, Silent()

    def _say(self, text: str) -> None:
        self.log.info("metaferry: %s", in_airflow(text))

    def _check(self, report: Report) -> None:
        documents = report.documents
        self.log.info(
            "metaferry %s: %d created, %d updated, %d kept, %d deleted; %d rows rejected; report: %s",
            report.run_id,
            documents.create,
            documents.update,
            documents.keep,
            documents.delete,
            report.rejected,
            report.report_url or "none",
        )
        if report.rejected:
            self.log.warning("metaferry: %d rows were rejected: %s", report.rejected, report.rejects_url)
        for line in finding_lines(report):
            self._say(line)
        if report.exit_code == SafetyStop.exit_code:
            raise AirflowFailException(f"nothing was written: {report.stopped}. {in_airflow(report.advice)}")
        if report.exit_code >= 128:
            raise AirflowException(report.stopped or "interrupted")
        not_written = documents.failed + documents.conflict
        if report.exit_code != 0 and (not_written or report.exit_code != 3 or not report.rejected):
            raise AirflowException(
                f"{not_written} documents could not be written"
                f"{'' if report.schema.written else '; schema.json is held back'}. "
                f"A retry does exactly those. Report: {report.report_url or report.run_id}"
            )

    def _fail_on_rejects(self, report: Report) -> None:
        """For operators at whose end everything else is written. Airflow fails as the command does, and the
        same rows would be rejected again by a retry."""
        if report.exit_code == 3:
            raise AirflowFailException(
                f"{report.rejected} rows were rejected: {report.rejects_url}. The other documents are "
                "written. Mend the rows, or let them pass: policy.rejects_fail=false"
            )

    def _read_job(self) -> Job:
        from metaferry.job.model import Job

        overrides, storage = self._overrides(), self._connections()
        if isinstance(self.job, Mapping):
            job = Job.from_mapping(self.job, overrides=overrides)
        else:
            job = read_job_file(self.job, storage, overrides)
        return in_a_task(job.with_storage(storage) if storage else job)

    def _overrides(self) -> list[str]:
        return [self.overrides] if isinstance(self.overrides, str) else list(self.overrides)

    def _connections(self) -> dict[str, dict[str, Any]]:
        """The options of the connections, by scheme."""
        from metaferry.airflow.connections import storage_options

        names = {"s3": self.aws_conn_id, "gs": self.gcp_conn_id, "az": self.azure_conn_id}
        return {
            scheme: storage_options(BaseHook.get_connection(name), scheme)
            for scheme, name in names.items()
            if name
        }

    def _number(self, name: str, *, most: int | None = None) -> int | None:
        """An argument that may come out of a template."""
        try:
            return whole_number(name, getattr(self, name), most=most)
        except UsageError as error:
            raise AirflowFailException(error.message) from None

    def _update_assets(self, context: Any, report: Report) -> None:
        """Adds the counts to the events of this task's outlets."""
        for outlet in self.outlets or ():
            if isinstance(outlet, AssetAlias):
                context["outlet_events"][outlet].add(Asset(report.lightly), extra=counts(report))
            elif isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(counts(report))


class MetaferrySyncOperator(_Operator):
    """Brings the documents in line with the tables; its XCom is the report without examples.

    prefix, limit: as of `metaferry.sync`. fail_on_rejects: an older name of `policy.rejects_fail`, over that
    of the job. Outlets get the counts of the run in `extra`; an AssetAlias becomes the URL of the Lightly
    datasource.
    """

    template_fields: Sequence[str] = (*_Operator.template_fields, "prefix", "limit")

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

    def execute(self, context: Any) -> dict[str, Any]:
        from metaferry import sync

        limit = self._number("limit")
        report = self._run(
            lambda job, stop: sync(job, prefix=self.prefix, limit=limit, progress=self._progress, stop=stop)
        )
        self._update_assets(context, report)
        self._fail_on_rejects(report)
        return summary(report)

    def _overrides(self) -> list[str]:
        given = super()._overrides()
        if self.fail_on_rejects is not None:
            given.append(f"policy.rejects_fail={str(self.fail_on_rejects).lower()}")
        return given


class MetaferryPlanOperator(_Operator):
    """Keeps the plan of a backfill, and splits it into one mapping for each mapped task.

    out: a folder or its URL, in place of one in the state folder; use `{{ run_id }}` or the like, so that
    each DAG run has its own. groups: mapped tasks at most, each with its shards. shards: at least so many,
    default one for 50,000 documents. The XCom is for `MetaferryShardOperator.partial(…).expand_kwargs(…)`;
    the URL of the plan is the XCom `plan`, for `MetaferryFinishOperator`, and the report the XCom `report`.
    A plan that a safety limit stopped fails the task without retries.
    """

    template_fields: Sequence[str] = (
        *_Operator.template_fields,
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
            lambda job, stop: plan(
                job,
                prefix=self.prefix,
                limit=limit,
                out=None if self.out is None else _unsigned(self.out),
                keep=self.out is None,
                shards=shards or most,
                progress=Stopping(self._progress, stop),
            )
        )
        plan_url = self.out or report.report_url.removesuffix("/plan.json")
        context["ti"].xcom_push(key="plan", value=plan_url)
        context["ti"].xcom_push(key="report", value=summary(report))
        groups = max(1, min(most, report.shards))
        return [{"plan": plan_url, "shard_index": index, "num_shards": groups} for index in range(groups)]


class MetaferryShardOperator(_Operator):
    """Writes the shards `s` of a kept plan for which `s % num_shards == shard_index`."""

    template_fields: Sequence[str] = (*_Operator.template_fields, "plan")

    def __init__(self, *, plan: str, shard_index: int, num_shards: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.shard_index = shard_index
        self.num_shards = num_shards

    def execute(self, context: Any) -> dict[str, Any]:
        from metaferry import sync

        report = self._run(
            lambda job, stop: sync(
                job,
                plan=_unsigned(self.plan),
                shard_index=self.shard_index,
                num_shards=self.num_shards,
                progress=self._progress,
                stop=stop,
            )
        )
        return summary(report)


class MetaferryFinishOperator(_Operator):
    """Completes a backfill: deletes, then schema.json; fails while shards are missing, naming them.

    The plan is compared with what was written, not with the tasks that succeeded: Airflow silently
    leaves failed tasks out of a reduction. plan: as the XCom `plan` of the planning task. Outlets as of
    `MetaferrySyncOperator`.
    """

    template_fields: Sequence[str] = (*_Operator.template_fields, "plan")

    def __init__(self, *, plan: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def execute(self, context: Any) -> dict[str, Any]:
        from metaferry import finish

        if self.plan in ("", "None"):  # what a template makes of an XCom that is not there
            raise AirflowFailException("there is no plan: the task that makes it has not come to its end")
        report = self._run(
            lambda job, stop: finish(_unsigned(self.plan), job=job, progress=self._progress, stop=stop)
        )
        self._update_assets(context, report)
        self._fail_on_rejects(report)
        return summary(report)


class MetaferryExportOperator(_Operator):
    """Writes the metadata of the job's datasource as a table; its XCom is the report.

    out: a URL, or a path as the worker sees it; .parquet, .csv or .jsonl by its name. as_written: as of
    `metaferry.export_file`. fail_on_invalid: whether the task fails, once the table is written, where a
    document was left out since it is invalid. XCom and log name ten of those. Outlets get the counts in
    `extra`; an AssetAlias becomes `out`.
    """

    template_fields: Sequence[str] = (*_Operator.template_fields, "out")

    def __init__(
        self, *, out: str, as_written: bool = False, fail_on_invalid: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.out = out
        self.as_written = as_written
        self.fail_on_invalid = fail_on_invalid

    def execute(self, context: Any) -> dict[str, Any]:
        from metaferry import export_file

        report = self._call(
            lambda job, stop: export_file(
                job, _unsigned(self.out), as_written=self.as_written, progress=Stopping(self._progress, stop)
            )
        )
        self.log.info(
            "metaferry: %d rows in %s; %d documents are invalid", report.rows, report.out, report.invalid
        )
        extra = {"rows": report.rows, "states": report.states, "invalid": report.invalid}
        for outlet in self.outlets or ():
            if isinstance(outlet, AssetAlias):
                context["outlet_events"][outlet].add(Asset(report.out), extra=extra)
            elif isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(extra)
        named = [f"{each.target}: {each.message}" for each in report.named[:_NAMED]]
        for each in named:
            self.log.warning("metaferry: invalid, and not in the table: %s", each)
        if report.invalid and self.fail_on_invalid:
            raise AirflowFailException(
                f"{report.invalid} documents are invalid, and not in {report.out}: {'; '.join(named)}. "
                "Mend them, or let them pass: fail_on_invalid=False"
            )
        return report.to_dict() | {"named": named}


def _text(error: MetaferryError) -> str:
    return in_airflow(f"{error.message}. {error.advice}" if error.advice else error.message)
