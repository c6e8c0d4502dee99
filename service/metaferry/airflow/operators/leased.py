"""What the operators share that write under a lease: waiting for it, and what a run leaves to other tasks.

With `deferrable` a task that finds the lease held gives up its worker slot: a trigger looks at the lease from
the triggerer, and the task goes on when it is free. The job's `lease_wait` bounds both ways of waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from metaferry.airflow.events import give_extra, has_changed, withhold_events
from metaferry.airflow.operators.base import JobOperator
from metaferry.airflow.running import counts, summary
from metaferry.airflow.triggers import LeaseTrigger
from metaferry.airflow.versions import AirflowFailException, AirflowSkipException, conf
from metaferry.errors import LeaseHeld, MetaferryError

if TYPE_CHECKING:
    from metaferry.job.model import Job
    from metaferry.planning.formats import Report
    from metaferry.progress import Stop

#: Seconds between two looks at a lease from the triggerer.
POLL: Final = 15.0


class WritingOperator(JobOperator):
    """An operator that writes under the lease of the datasource.

    deferrable: while another run holds the lease, the task waits in the triggerer and holds no worker slot;
    default: Airflow's `operators.default_deferrable`. The triggerer has to see the job as the worker does.
    poll: seconds between two looks. An outlet makes an event only where the run changed something, with the
    counts in `extra`; an AssetAlias becomes the URL of the Lightly datasource. skip_on_no_change: a run that
    changed nothing ends the task as skipped, and with it what comes after it.
    """

    #: Whether it ends a run: a part of one makes no event, and leaves what was rejected to the end.
    ends_run: ClassVar[bool] = True

    def __init__(
        self,
        *,
        deferrable: bool | None = None,
        poll: float = POLL,
        skip_on_no_change: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.deferrable = deferrable
        self.poll = poll
        self.skip_on_no_change = skip_on_no_change
        self._until: datetime | None = None  # when the waiting for the lease ends

    def _write(self, job: Job, stop: Stop) -> Report:
        """The call of the library."""
        raise NotImplementedError

    def execute(self, context: Any) -> dict[str, Any]:
        report = self._run(context, self._attempt)
        if not self.ends_run:
            return summary(report)
        if has_changed(report):
            give_extra(self, context, report.lightly, counts(report))
        else:
            withhold_events(self, context)
        self._fail_on_rejects(report)
        if self.skip_on_no_change and not has_changed(report):
            raise AirflowSkipException(f"nothing changed: {report.documents.keep} documents are as they were")
        return summary(report)

    def resume(self, context: Any, event: Mapping[str, Any]) -> dict[str, Any]:
        """Goes on when the trigger has fired, in whatever worker there is."""
        self._until = datetime.fromisoformat(event["until"])
        if event["fault"]:
            # Whatever it is, the run meets it too, and names it better; or it is the triggerer's alone.
            self.log.warning("metaferry: the triggerer could not look at the lease: %s", event["fault"])
            self.deferrable = False
        return self.execute(context)

    def _attempt(self, job: Job, stop: Stop) -> Report:
        """The run; one that is deferred does not wait in its slot, and one that has waited not twice."""
        if self._until is not None:
            left = max(0.0, (self._until - datetime.now(UTC)).total_seconds())
            job = job.model_copy(update={"lease_wait": left})
        else:
            self._until = datetime.now(UTC) + timedelta(seconds=job.lease_wait)
        if self.deferrable and self._job_of_trigger() is not None:
            job = job.model_copy(update={"lease_wait": 0.0})
        return self._write(job, stop)

    def _ended_by(self, error: MetaferryError, context: Any) -> None:
        """Gives the slot up where the lease is held, as long as it may be waited for."""
        if not isinstance(error, LeaseHeld) or not self.deferrable or self._until is None:
            return
        if datetime.now(UTC) >= self._until:
            return
        job = self._job_of_trigger()
        if job is None:
            return
        self.log.info("metaferry: %s; the task waits for it outside of the worker", error.message)
        self.defer(
            trigger=LeaseTrigger(
                job=job,
                aws_conn_id=self.aws_conn_id,
                gcp_conn_id=self.gcp_conn_id,
                azure_conn_id=self.azure_conn_id,
                sql_conn_ids=self.sql_conn_ids,
                until=self._until.isoformat(),
                poll=self.poll,
            ),
            method_name="resume",
        )

    def _job_of_trigger(self) -> dict[str, Any] | None:
        """The job as it goes to the triggerer through Airflow's database; None where it holds a secret.

        With every `${VAR}` as written, and without what came from connections: the triggerer reads both anew.
        """
        from metaferry.job.serialize import keep_job

        assert self._given is not None  # it is read by now
        kept, secret = keep_job(self._given)
        if kept is None:
            self.log.warning(
                "metaferry: %s of the job may be a secret, so that the job does not go to the triggerer, and "
                "the task waits for a lease in its worker slot: write it as ${VAR}, or use a connection",
                secret,
            )
        return kept

    def _fail_on_rejects(self, report: Report) -> None:
        """Airflow fails as the command does where rows were rejected: the same ones would be again."""
        if report.exit_code == 3:
            raise AirflowFailException(
                f"{report.rejected} rows were rejected: {report.rejects_url}. The other documents are "
                "written. Mend the rows, or let them pass: policy.rejects_fail=false"
            )
