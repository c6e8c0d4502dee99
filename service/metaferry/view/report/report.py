"""`metaferry report`: the tree of a job or a datasource is read once, and shown as one page.

With a job, what a sync would do is planned first, by the code that does it: that is the drift, with its
price and its findings. The page then shows what that plan listed, and documents that it would keep are not
read: it has proved their bytes. Nothing is written but the page, and the plan's cache of frame counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from os import PathLike, fspath
from typing import Any, Final

from metaferry.errors import MetaferryError, UsageError
from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.lightly.schema import Entry
from metaferry.masking import showable
from metaferry.planning.formats import PlanReport
from metaferry.progress import Progress, Silent
from metaferry.runs.context import open_job
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.run import planned
from metaferry.view.export.export import ExportReport, InvalidDocument
from metaferry.view.export.open import load_tree
from metaferry.view.export.values import Values
from metaferry.view.export.write import place_of, put_made
from metaferry.view.report.build import build_page
from metaferry.view.report.facts import SEED, About, Example, FindingGroup, Panel, group_findings
from metaferry.view.report.panels import plan_panels, selection_panel
from metaferry.view.report.thumbnails import make_thumbnails, require_number
from metaferry.view.selection.config import Config, read_config
from metaferry.view.selection.preview import judge_tree
from metaferry.view.tree.reading import Tree, list_tree, tree_of
from metaferry.view.tree.target import Target, job_of

#: Invalid documents that a page names.
_NAMED: Final = 20
#: What the findings of documents that no consumer can read, or looks for, are called.
INVALID: Final = Code.DOCUMENT_INVALID
MISNAMED: Final = Code.DOCUMENT_MISNAMED


@dataclass(slots=True)
class ReportPage:
    """What a page is about. `documents` are the rows of the tree, `sampled` those that stand for all.

    states: documents and media by state. invalid: documents that a consumer cannot read. notes: what else
    there is to know. out, bytes: the file.
    """

    url: str
    out: str
    documents: int = 0
    sampled: int = 0
    states: dict[str, int] = field(default_factory=dict)
    invalid: int = 0
    misnamed: int = 0
    thumbnails: int = 0
    notes: list[str] = field(default_factory=list)
    bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def report_file(
    target: Target,
    out: str | PathLike[str],
    *,
    overrides: Sequence[str] = (),
    drift: bool = True,
    selection: str | PathLike[str] | Mapping[str, Any] | None = None,
    thumbnails: int = 0,
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> ReportPage:
    """Makes the page of a tree and puts it in its place, whole. `drift`: a job is planned, too. `selection`:
    a selection config, whose preview the page shows. `thumbnails`: so many media are read and shown.

    Raises JobError, UsageError, SchemaError and StorageError. A plan that fails is a note.
    """
    progress, deps = progress or Silent(), deps or RuntimeDeps()
    place = place_of(out, example="report.html")
    if not place.name.lower().endswith((".html", ".htm")):
        raise UsageError(f"{showable(fspath(out))}: a report is one HTML file", advice="write -o report.html")
    require_number(thumbnails)
    config = None if selection is None else read_config(selection)
    with ExitStack() as stack:
        tree, planned, failed = _open(stack, job_of(target, overrides), drift, progress, deps)
        values, found = load_tree(tree, progress)
        made = deps.now().isoformat(timespec="seconds")
        pictures = make_thumbnails(
            tree.database,
            values.table,
            tree.storages.at(tree.job.input),
            tree.storages.portal,
            thumbnails,
            seed=SEED,
            progress=progress,
        )
        notes = [
            *found.notes,
            *([f"no plan could be made: {failed}"] if failed else []),
            *([pictures.note] if pictures.note else []),
        ]
        about = About(
            title=showable(tree.lightly.url),
            made=made,
            basis="The documents in place, as the consumer shows them: an entry without a value shows its "
            "default, a frame without one that of its video. Invalid documents are shown without values."
            + "".join(f" Note: {note}." for note in notes),
            input=showable(tree.job.input.url),
            lightly=showable(tree.lightly.url),
            findings=(*_left_out(found), *_of_plan(planned)),
            panels=(
                *([] if planned is None else plan_panels(planned)),
                *_selected(tree, values, config, progress),
            ),
            thumbnails=pictures.made,
            not_pictured=pictures.failed,
        )
        page = build_page(tree.database, values.table, columns_of(values), about, progress=progress)
        file = tree.database.scratch / "report.html"
        file.write_text(page.html, encoding="utf-8")
        put_made(file, place, tree.job, tree.storages)
        size = file.stat().st_size
        file.unlink()
    return ReportPage(
        url=found.url,
        out=place.shown,
        documents=page.documents,
        sampled=page.sampled,
        states=found.states,
        invalid=found.invalid,
        misnamed=found.misnamed,
        thumbnails=len(pictures.made),
        notes=notes,
        bytes=size,
    )


def columns_of(values: Values) -> list[tuple[Entry, str]]:
    """The schema entries of a table of values, with the columns that they are in."""
    return [(column.entry, column.column) for column in values.columns if column.entry is not None]


def _open(
    stack: ExitStack, job: Job, drift: bool, progress: Progress, deps: RuntimeDeps
) -> tuple[Tree, PlanReport | None, str]:
    """The tree, listed once; of a job with the report of its plan, or with why there is none, which is no
    reason to have no page."""
    failed = ""
    if drift and job.sources:
        try:
            run, _, _ = stack.enter_context(planned(job, progress=progress, deps=deps))
        except MetaferryError as error:
            failed = str(error)
        else:
            run.count_requests()
            assert isinstance(run.report, PlanReport)  # `planned` made it
            return tree_of(job, run.storages, run.database, progress, planned=True), run.report, ""
    storages, database = stack.enter_context(open_job(job, deps))
    list_tree(job, storages, database, deps, progress)
    return tree_of(job, storages, database, progress), None, failed


def _left_out(found: ExportReport) -> list[FindingGroup]:
    groups = []
    for code, number, named in (
        (INVALID, found.invalid, found.named[: found.invalid]),
        (MISNAMED, found.misnamed, found.named[found.invalid :]),
    ):
        if number:
            examples = tuple(_example(each) for each in named[:_NAMED])
            groups.append(FindingGroup(str(code), "error", number, examples))
    return groups


def _example(each: InvalidDocument) -> Example:
    place = "".join(f":{number}" for number in (each.line, each.column) if number)
    return Example(f"{each.target}{place}", each.message)


def _of_plan(planned: PlanReport | None) -> tuple[FindingGroup, ...]:
    return () if planned is None else group_findings(planned.findings, planned.finding_examples)


def _selected(tree: Tree, values: Values, config: Config | None, progress: Progress) -> tuple[Panel, ...]:
    return () if config is None else (selection_panel(judge_tree(tree, values, config, progress)),)
