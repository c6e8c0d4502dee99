"""The operator of a report: one page about the metadata in place, whose URL is the XCom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metaferry.airflow.events import give_extra
from metaferry.airflow.lineage import of_datasource
from metaferry.airflow.operators.base import JobOperator
from metaferry.airflow.task_log import unsigned
from metaferry.progress import Stopping


class MetaferryReportOperator(JobOperator):
    """Makes one self-contained page about the metadata of the job's datasource; its XCom is the page's URL.

    out: a URL, or a path as the worker sees it, of .html. drift, selection, thumbnails: as of
    `metaferry.report`. What the page counts is the XCom `report`. What it shows, invalid documents too, fails
    no task: for that there is `MetaferryCheckOperator`. Outlets get the counts in `extra`; an AssetAlias
    becomes the page's URL.
    """

    template_fields: Sequence[str] = (*JobOperator.template_fields, "out", "selection")

    def __init__(
        self,
        *,
        out: str,
        drift: bool = True,
        selection: str | Mapping[str, Any] | None = None,
        thumbnails: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.out = out
        self.drift = drift
        self.selection = selection
        self.thumbnails = thumbnails

    def execute(self, context: Any) -> str:
        from metaferry import report

        page = self._call(
            lambda job, stop: report(
                job,
                unsigned(self.out),
                drift=self.drift,
                selection=self.selection,
                thumbnails=self.thumbnails,
                progress=Stopping(self._progress, stop),
            )
        )
        self.log.info(
            "metaferry: %s: %d documents, %d invalid; %d bytes",
            page.out,
            page.documents,
            page.invalid,
            page.bytes,
        )
        for note in page.notes:
            self.log.warning("metaferry: %s", note)
        self._push(context, self._report_at(page.out) | {"report": page.to_dict()})
        extra = {"documents": page.documents, "states": page.states, "invalid": page.invalid}
        self._trace(lambda job: of_datasource(job, page.out))
        give_extra(self, context, page.out, extra)
        return page.out
