"""The requests that the sync of a plan is expected to send, with their price, and the limit on it.

`planning/price/estimate.py` has the rules; here are the facts, which the run knows. Sends no request.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from metaferry.job.parts import Infer
from metaferry.planning.build import Decided
from metaferry.planning.formats import JOINED_VIDEOS
from metaferry.planning.price import estimate
from metaferry.planning.price.limit import judge_cost as judge
from metaferry.planning.price.model import Price, Requests, Store
from metaferry.runs.backup.expire import is_due
from metaferry.runs.context import RunContext
from metaferry.runs.gather import Gathered
from metaferry.runs.state.ledger import PIECE_ROWS
from metaferry.runs.state.listing_checkpoint import EVERY
from metaferry.storage.protocol import ABSENT

#: Any token: whether a store honours conditions on one does not depend on which.
_TOKEN: Final = "token"


def judge_cost(run: RunContext, gathered: Gathered, decided: Decided) -> Decided:
    """The same plan, stopped where its requests would cost more than `policy.max_cost`; a limit that was
    passed before stays the reason. `run.report.price` has the estimate."""
    facts = _facts(run, gathered, decided)
    run.report.price = price = _price(run, facts, decided.compactable)
    if decided.stopped or not facts.changes:
        return decided
    stopped, advice = judge(price)
    return replace(decided, stopped=stopped, advice=advice) if stopped else decided


def _price(run: RunContext, facts: estimate.Facts, compactable: int) -> Price:
    storages = run.storages
    stores = [
        *storages.stores(),
        storages.store(run.lightly, estimate.of_documents(facts)),
        storages.store(run.state.storage, estimate.of_state(facts)),
    ]
    if not facts.begun:
        # A sync after this plan finds them in the cache.
        stores += [Store(each.name, Requests() - each.requests, each.prices) for each in run.frames_counted]
    listing = run.report.listing
    return Price.of(
        stores,
        max_cost=run.job.policy.max_cost,
        savings=estimate.savings(
            facts,
            storages.prices(run.lightly),
            storages.prices(run.input),
            listed=listing.objects if listing.basis == "listing" else 0,
            share=run.job.verified_share,
            compactable=compactable,
            asked=run.objects_asked,
        ),
    )


def _facts(run: RunContext, gathered: Gathered, decided: Decided) -> estimate.Facts:
    job, documents, written = run.job, decided.documents, decided.entries.changed
    writes = documents.create + documents.update
    changes = bool(writes or documents.delete or written)
    capabilities, state = run.lightly.capabilities, run.state.storage.capabilities
    read_back = run.database.value("SELECT count(*) FROM damaged") if writes else 0
    if writes and job.verified_share:
        read_back = min(writes, read_back + max(1, round(writes * job.verified_share)))
    unguarded = 0 if capabilities.honours(ABSENT) else documents.create
    unguarded += 0 if capabilities.honours(_TOKEN) else documents.update
    fresh = run.report.listing.fresh and run.input.capabilities.start_key
    pages_are_kept = fresh and not gathered.kept_pages  # by the sync, and not by this plan already
    reports = sum(
        bool(run.database.value(f"SELECT count(*) FROM {name}"))
        for name in ("rejects", "findings", JOINED_VIDEOS)
    )
    inferred = bool(decided.entries.added or decided.entries.schema_edits()) and isinstance(
        job.schema_, Infer
    )
    backup = run.report.backup
    inferred_read = int(written and job.backup is not None)  # the one read for it that is of the state folder
    return estimate.Facts(
        writes=writes,
        deletes=documents.delete,
        schema=written,
        read_back=read_back,
        looks=capabilities.delete_looks,
        state_looks=state.delete_looks,
        unguarded=unguarded,
        begun=run.stop is not None,
        probes=run.unprobed,
        entries=inferred,
        defaults=job.compact,
        ledger_rows=PIECE_ROWS,
        ledger_listed=run.ledger.listed,
        reports=reports,
        expired=len(
            run.state.old_files(
                gathered.history, run.report.run_id, job.keep_runs, run.deps.now(), wrote=changes
            )
        ),
        kept=backup.reads - inferred_read,
        kept_state=inferred_read,
        kept_files=backup.puts,
        old_backups=job.backup is not None
        and is_due(run.report.run_id, gathered.history.run_ids, wrote=changes),
        pages=run.report.listing.objects // EVERY if pages_are_kept else 0,
    )
