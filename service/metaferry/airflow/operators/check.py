"""The operator of a check: a task that fails where documents in place are invalid, or not what tables say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from metaferry.airflow.events import give_extra
from metaferry.airflow.lineage import of_datasource
from metaferry.airflow.operators.base import JobOperator
from metaferry.airflow.task_log import unsigned
from metaferry.airflow.versions import AirflowFailException
from metaferry.progress import Stopping

if TYPE_CHECKING:
    from metaferry.view.check.found import CheckReport

#: Findings that the log, and the message of a task that fails, name.
_NAMED: Final = 10


class MetaferryCheckOperator(JobOperator):
    """Reads the documents in place as their consumer does; its XCom is the report without examples.

    sample, seed, out: as of `metaferry.check`. Where the command exits with 4, the task fails, and without
    retries, since another attempt finds the same. fail_on_drift: whether it fails, too, where nothing is
    invalid and a sync of the job would change something. Outlets get the counts in `extra`; an AssetAlias
    becomes the URL of the Lightly datasource.
    """

    template_fields: Sequence[str] = (*JobOperator.template_fields, "sample", "out")

    def __init__(
        self, *, sample: str = "", seed: int = 0, out: str = "", fail_on_drift: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.sample = sample
        self.seed = seed
        self.out = out
        self.fail_on_drift = fail_on_drift

    def execute(self, context: Any) -> dict[str, Any]:
        from metaferry import check

        report = self._call(
            lambda job, stop: check(
                job,
                sample=self.sample,
                seed=self.seed,
                out=unsigned(self.out) if self.out else "",
                progress=Stopping(self._progress, stop),
            )
        )
        self._log_findings(report)
        shown = report.to_dict()
        del shown["examples"]
        extra = {name: shown[name] for name in ("coverage", "documents", "drift", "findings")}
        self._trace(lambda job: of_datasource(job, self.out))
        give_extra(self, context, report.url, extra)
        if report.invalid or (report.exit_code and self.fail_on_drift):
            raise AirflowFailException(_why(report))
        return shown

    def _log_findings(self, report: CheckReport) -> None:
        documents = report.documents
        self.log.info(
            "metaferry: %s: %d documents, %d of them read, %d known to be as a run wrote them; %d invalid",
            report.url,
            documents.total,
            documents.read,
            documents.proved,
            report.invalid,
        )
        for text in [*([report.sample] if report.sample else ()), *report.notes]:
            self.log.info("metaferry: %s", text)
        for code, count in sorted(report.findings.items()):
            self.log.info("metaferry finding %s: %d", code, count)
        for each in [each for each in report.examples if each.severity != "info"][:_NAMED]:
            self.log.warning("metaferry %s: %s: %s", each.code, each.target, each.message)


def _why(report: CheckReport) -> str:
    """What fails the task: how much is invalid, and what a sync would change."""
    from metaferry.view.check.found import INVALID

    said = [f"{report.invalid} invalid in {report.url}"] if report.invalid else []
    drift = report.drift
    if drift is not None and drift.any:
        schema = ", and write schema.json" if drift.schema else ""
        said.append(
            f"a sync would create {drift.create}, replace {drift.update} and delete {drift.delete} documents"
            + schema
        )
    first = [f"{each.target}: {each.message}" for each in report.examples if each.code in INVALID]
    where = f". All findings: {report.out}" if report.out else ""
    return "; ".join([*said, *first[:_NAMED]]) + where
