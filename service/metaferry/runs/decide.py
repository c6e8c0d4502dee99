"""Decide: the plan of a run, made of what was gathered, and what has to be known before it is applied.

`planning/build.py` makes the plan. Here are the requests that it needs (frame counts, the ledger,
documents in place), the checks that need a store, and the numbers of the plan for the report.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from metaferry.errors import StorageError
from metaferry.findings import Code
from metaferry.planning import build
from metaferry.planning.build import Decided
from metaferry.planning.formats import RelationCounts, SchemaChange
from metaferry.planning.price.model import Requests
from metaferry.planning.rejects import count_rejects
from metaferry.runs.backup.price import planned_backup
from metaferry.runs.context import RunContext
from metaferry.runs.expected import judge_cost
from metaferry.runs.gather import Gathered, counted
from metaferry.runs.in_place import read_in_place
from metaferry.runs.listings.age import note_age
from metaferry.runs.listings.links import refuse_links
from metaferry.runs.listings.no_media import explain_no_media
from metaferry.runs.schema_fit import judge_types
from metaferry.runs.state.defaults import used_defaults
from metaferry.runs.state.inferred import inferred_entries

log = logging.getLogger(__name__)


def decide(run: RunContext, gathered: Gathered, prefix: str, limit: int | None) -> Decided:
    """Makes the plan (table `decided`), and fills the report with its counts and findings.

    Raises UsageError where a symbolic link would lead a write out of the datasource, and StorageError.
    """
    with run.timed("decide"):
        run.progress.phase("Planning", None)
        decided = build.decide(
            run.database,
            run.job,
            gathered.sources,
            relations=_relations(gathered),
            in_place=gathered.in_place,
            given=gathered.given,
            count_frames=lambda videos: counted(run, videos, len(videos), timed=videos.timed),
            load_ledger=run.ledger.load,
            read_documents=lambda rows: _read_documents(run, rows),
            inferred=lambda: inferred_entries(run.state),
            used_defaults=lambda: used_defaults(run.state),
            explain_no_media=lambda: explain_no_media(
                run.job, run.database, run.storages, run.portal, gathered.listing, prefix
            ),
            prefix=prefix,
            limit=limit,
            ledger_complete=not gathered.history.interrupted,
            media_current=gathered.listing.fresh,
            limits=run.lightly.capabilities.key_limits,
            prices=run.storages.prices(run.lightly),
            weigh_compaction=run.stop is None,
        )
    refuse_links(run.database, run.lightly)
    decided = judge_types(decided, run.database, run.lightly, run.portal, prefix, run.progress)
    if not prefix:
        run.damage.forget("SELECT target FROM damaged WHERE target NOT IN (SELECT target FROM decided)")
    _note_capabilities(run)
    note_age(run.database, run.job, gathered.listing)
    run.report.relations = _relations(gathered)
    if run.job.backup is not None:
        run.report.backup = planned_backup(
            run.database,
            schema_changes=decided.entries.changed,
            schema_in_place=gathered.schema_token is not None,
        )
    decided = judge_cost(run, gathered, decided)
    _describe(run, decided)
    return decided


def _relations(gathered: Gathered) -> list[RelationCounts]:
    return [RelationCounts(one.name, one.read, one.malformed) for one in gathered.relations]


def _read_documents(
    run: RunContext, rows: Iterable[tuple[str, int]]
) -> Iterator[tuple[str, bytes | StorageError | None]]:
    run.progress.phase("Reading documents in place", None)
    return read_in_place(run.lightly, run.portal, rows, run.progress)


def _note_capabilities(run: RunContext) -> None:
    """Findings about what the stores of the documents and of the state cannot do."""
    if not run.lightly.capabilities.atomic:
        run.database.finding(
            Code.STORAGE_NOT_ATOMIC,
            "warning",
            f"{run.lightly.url}: this file system cannot rename: a reader may see part of a document",
            advice="keep the documents on a store that writes atomically",
        )
    for url, create in sorted(
        {
            (storage.url, storage.capabilities.conditional)
            for storage in (run.lightly, run.state.storage)
            if not (storage.capabilities.conditional and storage.capabilities.replaces)
        }
    ):
        what = "conditional writes" if not create else "replacing under a condition"
        run.database.finding(
            Code.STORAGE_NO_CONDITIONS,
            "warning",
            f"{url}: without {what}, what others write during a run can be overwritten",
            advice="let one run at a time, and nothing else, write there",
        )


def _describe(run: RunContext, decided: Decided) -> None:
    """The numbers of the plan, for the report."""
    report = run.report
    report.sources = decided.sources
    media = report.media
    total, media.with_metadata = media.images + media.videos, decided.with_metadata
    media.coverage = media.with_metadata / total if total else None
    report.documents, report.compact = decided.documents, decided.compacted
    prices, puts = run.storages.prices(run.lightly), Requests(put=report.compact.saved)
    if prices is not None and not prices.unknown(puts):
        report.compact.amount = prices.amount(puts)
    report.frames.unproved = decided.unproved
    report.bytes_to_write = decided.bytes_to_write
    report.schema = SchemaChange(
        entries=len(decided.entries.entries),
        added=decided.entries.added,
        written=decided.entries.changed,
        changed=decided.entries.schema_edits(),
        removed=tuple(entry.path for entry in decided.entries.removed),
    )
    report.stopped, report.advice = decided.stopped, decided.advice
    report.examples = build.examples(run.database)
    report.findings, report.finding_examples = build.findings(run.database)
    report.rejects = count_rejects(run.database)
    if decided.stopped:
        report.exit_code = 5
    elif report.rejected and run.job.policy.rejects_fail:
        report.exit_code = 3
    elif report.rejected:
        rows = "row was" if report.rejected == 1 else "rows were"
        log.warning(
            "%s %s rejected, which is no failure: policy.rejects_fail is false", f"{report.rejected:,}", rows
        )
