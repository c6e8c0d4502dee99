"""The operator of an export: the metadata in place as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from metaferry.airflow.events import give_extra
from metaferry.airflow.lineage import of_datasource
from metaferry.airflow.operators.base import JobOperator
from metaferry.airflow.task_log import unsigned
from metaferry.airflow.versions import AirflowFailException
from metaferry.progress import Stopping

#: Invalid and misnamed documents that the log and the XCom name.
_NAMED: Final = 10


class MetaferryExportOperator(JobOperator):
    """Writes the metadata of the job's datasource as a table; its XCom is the report.

    out: a URL, or a path as the worker sees it; .parquet, .csv or .jsonl by its name. as_written: as of
    `metaferry.export_file`. fail_on_invalid: whether the task fails, once the table is written, where a
    document is invalid or misnamed. XCom and log name ten of those. Outlets get the counts in `extra`; an
    AssetAlias becomes `out`.
    """

    template_fields: Sequence[str] = (*JobOperator.template_fields, "out")

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
                job, unsigned(self.out), as_written=self.as_written, progress=Stopping(self._progress, stop)
            )
        )
        self.log.info(
            "metaferry: %d rows in %s; %d documents are invalid, %d misnamed",
            report.rows,
            report.out,
            report.invalid,
            report.misnamed,
        )
        extra = {
            "rows": report.rows,
            "states": report.states,
            "invalid": report.invalid,
            "misnamed": report.misnamed,
        }
        self._trace(lambda job: of_datasource(job, report.out))
        give_extra(self, context, report.out, extra)
        named = [f"{each.target}: {each.message}" for each in report.named[:_NAMED]]
        for each in named:
            self.log.warning("metaferry: no consumer shows it as it should: %s", each)
        if report.exit_code and self.fail_on_invalid:
            raise AirflowFailException(
                f"{report.invalid} documents are invalid and {report.misnamed} misnamed: {'; '.join(named)}. "
                "Mend them, or let them pass: fail_on_invalid=False"
            )
        return report.to_dict() | {"named": named}
