"""What the operators share: the job with its connections, the call of the library, its errors as Airflow's.

An error that another attempt cannot fix (job file, safety limit) fails the task without retries; any other
may be retried, and a retry does what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from metaferry import runid
from metaferry.airflow.connections import connection_names, storage_options
from metaferry.airflow.databases import database_uris
from metaferry.airflow.job_files import read_job_file
from metaferry.airflow.lineage import Lineage, as_openlineage, lineage_of
from metaferry.airflow.links import REPORT_LINK, REPORT_URL, RUN_ID, ReportLink, browser_url
from metaferry.airflow.roles import exchanged
from metaferry.airflow.running import Task, given_variables, in_a_task, summary
from metaferry.airflow.task_log import finding_lines, in_airflow, whole_number
from metaferry.airflow.versions import AirflowException, AirflowFailException, BaseHook, BaseOperator
from metaferry.errors import MetaferryError, SafetyStop, UsageError
from metaferry.progress import Progress, Silent, Stop

if TYPE_CHECKING:
    from metaferry.job.model import Job
    from metaferry.planning.formats import Report

T = TypeVar("T")


class JobOperator(BaseOperator):
    """What the operators share.

    job: the path of a job file as the worker sees it, its URL (read with the connections below), an
    ObjectStoragePath, or the mapping; relative paths in all but the first are to the worker's working
    directory. overrides: `key=value` over it, as `--set`. aws_conn_id, gcp_conn_id, azure_conn_id:
    connections whose credentials become the job's options for `s3`, `gs` and `az`, over those that it has;
    one that does not exist, or has a field that cannot be translated, fails the task. sql_conn_ids:
    connections whose URIs become variables of the job: {"PG": "labels"} for `uri: "${PG}"`. report_link:
    where a browser opens reports, with `{bucket}` and `{key}`; default: the console of AWS or Google Cloud.

    A task that made a run has its id and the URL of its report as the XComs `run_id` and `report_url`, and
    the report without examples as `report`, also where it fails.
    """

    template_fields: Sequence[str] = (
        "job",
        "overrides",
        "aws_conn_id",
        "gcp_conn_id",
        "azure_conn_id",
        "sql_conn_ids",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"job": "yaml", "overrides": "json"}
    operator_extra_links = (ReportLink(),)
    ui_color = "#d5e8d4"

    def __init__(
        self,
        *,
        job: Any,
        overrides: Sequence[str] = (),
        aws_conn_id: str | None = None,
        gcp_conn_id: str | None = None,
        azure_conn_id: str | None = None,
        sql_conn_ids: Mapping[str, str] | None = None,
        report_link: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.overrides = overrides
        self.aws_conn_id = aws_conn_id
        self.gcp_conn_id = gcp_conn_id
        self.azure_conn_id = azure_conn_id
        self.sql_conn_ids = sql_conn_ids
        self.report_link = report_link
        self._task: Task | None = None
        #: The job as soon as it is read: as it was given, and with the connections.
        self._given: Job | None = None
        self._read: Job | None = None
        self._progress: Progress = Silent()
        self._lineage: Lineage | None = None

    def on_kill(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self, context: Any, call: Callable[[Job, Stop], Report]) -> Report:
        """Calls the library; returns the report of a run, or raises what fails the task."""
        report = self._call(call, context)
        self._trace(lambda job: lineage_of(job, report))
        self._leave(context, report)
        self._check(report)
        return report

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What the provider `openlineage` asks for: what was read and written. Of a task that fails, too."""
        if self._lineage is None:
            self._trace(lambda job: lineage_of(job, None))
        return None if self._lineage is None else as_openlineage(self._lineage)

    def _trace(self, make: Callable[[Job], Lineage]) -> None:
        """Notes what was read and written. Before the provider asks, since it forks, and asks the copy."""
        if self._read is None:
            return
        try:
            self._lineage = make(self._read)
        except Exception as error:  # noqa: BLE001 - documents are written by now, and lineage must not fail that
            self.log.warning("metaferry: no lineage: %s", type(error).__name__)

    def _call(self, call: Callable[[Job, Stop], T], context: Any = None) -> T:
        """What the library answers; its errors as those of Airflow, after `_ended_by`."""
        # Set before anything is read, so that no signal is lost meanwhile.
        self._task = task = Task()
        try:
            uris = self._database_uris()
        except UsageError as error:
            raise AirflowFailException(_text(error)) from None
        with given_variables(uris):
            return self._call_with_variables(task, call, context)

    def _call_with_variables(self, task: Task, call: Callable[[Job, Stop], T], context: Any) -> T:
        before = runid.current()
        from metaferry.cli.show.progress import Lines

        try:
            self._read = job = self._read_job()
            with Lines(self._say) as self._progress:
                return task.run(lambda stop: call(job, stop))
        except MetaferryError as error:
            run_id = error.run_id or (runid.current() if runid.current() != before else "")
            if context is not None:
                self._push(context, {RUN_ID: run_id} | self._report_at(error.report_url))
            self._ended_by(error, context)
            kind = AirflowFailException if isinstance(error, UsageError | SafetyStop) else AirflowException
            raise kind(_text(error)) from None
        finally:
            self._task, self._progress = None, Silent()

    def _ended_by(self, error: MetaferryError, context: Any) -> None:
        """For operators that go on after some errors; what it raises takes the place of the failure."""

    def _leave(self, context: Any, report: Report) -> None:
        """What others find of a run, whether the task fails or not."""
        at = self._report_at(report.page_url or report.report_url)
        self._push(context, {RUN_ID: report.run_id} | at | {REPORT_URL: report.report_url})
        self._push(context, {"report": summary(report)})

    def _report_at(self, url: str) -> dict[str, str]:
        """The XComs of a report's URL, and of what a browser opens there."""
        options = self._read.storage.get(url.partition("://")[0], {}) if self._read is not None else {}
        client = options.get("client_kwargs") or {}
        own = bool(options.get("endpoint_url") or client.get("endpoint_url"))
        link = browser_url(url, pattern=self.report_link, own_endpoint=own)
        return {REPORT_URL: url, REPORT_LINK: link}

    def _push(self, context: Any, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if value:
                context["ti"].xcom_push(key=name, value=value)

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

    def _read_job(self) -> Job:
        from metaferry.job.model import Job

        overrides, storage = self._overrides(), self._connections()
        if isinstance(self.job, Mapping):
            job = Job.from_mapping(self.job, overrides=overrides)
        else:
            job = read_job_file(self.job, storage, overrides)
        self._given = job
        return in_a_task(job.with_storage(storage) if storage else job)

    def _overrides(self) -> list[str]:
        return [self.overrides] if isinstance(self.overrides, str) else list(self.overrides)

    def _connections(self) -> dict[str, dict[str, Any]]:
        """The options of the connections, by scheme."""
        names = connection_names(self.aws_conn_id, self.gcp_conn_id, self.azure_conn_id)
        return {
            scheme: exchanged(storage_options(BaseHook.get_connection(name), scheme))
            for scheme, name in names.items()
        }

    def _database_uris(self) -> dict[str, str]:
        """The URIs of the connections to databases, by the variable of the job."""
        return database_uris(self.sql_conn_ids or {}, BaseHook.get_connection)

    def _number(self, name: str, *, most: int | None = None) -> int | None:
        """An argument that may come out of a template."""
        try:
            return whole_number(name, getattr(self, name), most=most)
        except UsageError as error:
            raise AirflowFailException(error.message) from None


def _text(error: MetaferryError) -> str:
    return in_airflow(f"{error.message}. {error.advice}" if error.advice else error.message)
