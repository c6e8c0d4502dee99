"""Makes the plan from what was gathered: the steps in their order, each a module of its own.

No I/O besides the engine's scratch folder: frame counts and the ledger come from callbacks, once they are
known to be needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from metaferry.errors import UsageError
from metaferry.findings import Code, Finding, Severity
from metaferry.job.model import Job
from metaferry.job.parts import Infer
from metaferry.lightly.key_limits import KeyLimits
from metaferry.lightly.schema import Entry
from metaferry.media.frames.model import FrameCount
from metaferry.planning import diff, entries, match, merge, rejects, values
from metaferry.planning.advice.hints import find_hints
from metaferry.planning.coverage import (
    ExplainNoMedia,
    count_media_with_metadata,
    judge_emptiness,
    judge_shares,
)
from metaferry.planning.database import Database
from metaferry.planning.entries import Entries
from metaferry.planning.existing import ReadDocuments, check_existing
from metaferry.planning.formats import (
    Action,
    CompactCounts,
    DocumentCounts,
    Example,
    RelationCounts,
    SourceCounts,
)
from metaferry.planning.price.estimate import PAGE
from metaferry.planning.price.model import PriceTable
from metaferry.planning.records.compact import Compaction, UsedDefaults
from metaferry.planning.records.query_rows import name_query_rows
from metaferry.planning.types.sticky import Inferred, explain_types, name_rewrites
from metaferry.tables.model import Loaded

_EXAMPLES = 10
_FINDING_ORDER = "source, file, row, media, target, message"
_NO_LIMITS: Final = KeyLimits()


@dataclass(frozen=True, slots=True)
class Decided:
    """A decided plan. The rows are the table `decided`; these are its numbers."""

    sources: list[SourceCounts]
    documents: DocumentCounts
    entries: Entries
    unproved: int
    stopped: str  # the safety limit that forbids applying it, "" if none does
    advice: str
    bytes_to_write: int
    with_metadata: int  # media that the rows give metadata
    compacted: CompactCounts
    compactable: int = 0  # puts that `compact: true` would save


def decide(
    database: Database,
    job: Job,
    sources: Sequence[Loaded],
    *,
    relations: Sequence[RelationCounts] = (),
    in_place: tuple[Entry, ...] | None,
    given: tuple[Entry, ...] | None,
    count_frames: Callable[[match.Videos], Iterable[FrameCount]],
    load_ledger: Callable[[], None],
    read_documents: ReadDocuments,
    inferred: Inferred = dict,
    used_defaults: UsedDefaults = dict,
    explain_no_media: ExplainNoMedia = lambda: ("the input holds no media", ""),
    prefix: str = "",
    limit: int | None = None,
    ledger_complete: bool = True,
    media_current: bool = True,
    limits: KeyLimits = _NO_LIMITS,
    prices: PriceTable | None = None,
    weigh_compaction: bool = False,
) -> Decided:
    """Decides the action of every document.

    `count_frames` answers one count for each video it is given. `load_ledger` fills the table
    `ledger`, called only when a listing does not prove what the plan has to know; `explain_no_media` tells
    what the input holds in place of media. Where the media are not
    `media_current`, one that is not among them may not be gone. Nothing is refused here:
    limits that were passed are named in `stopped`. `prices` are those of the Lightly datasource.
    `weigh_compaction`: also what the job would save by `compact`, which costs a pass over all records.
    """
    for index, source in enumerate(sources):
        match.match_names(database, source, index, prefix)
    needed = match.find_collisions(database, sources)
    counted = chain.from_iterable(count_frames(videos) for videos in needed)
    timed = any(source.frames.by_time for source in sources)
    unproved = match.take_frame_counts(database, counted, times=timed)
    match.settle_collisions(database)
    for index, source in enumerate(sources):
        match.match_targets(database, source, index, limits)
    resolved = entries.resolve_entries(
        database, job, sources, in_place=in_place, given=given, inferred=inferred
    )
    keys = values.all_keys(sources)
    # Merged sources and frames are read more than once.
    once = len(sources) == 1 and not database.value("SELECT count(*) FROM frames")
    for index, source in enumerate(sources):
        values.take_values(database, source, index, resolved, keys, view=once)
    reject_unmatched = job.policy.unmatched == "reject"
    rejects.collect_rejects(database, sources)
    find_hints(database, sources)
    explain_types(
        database,
        in_place if in_place is not None and given is None else (),
        inferred,
        widen=isinstance(job.schema_, Infer) and job.schema_.widen,
    )
    name_query_rows(database, sources)
    rejects.findings_of_rejects(database, job, sources, reject_unmatched=reject_unmatched)
    counts = rejects.count_rows(database, sources, reject_unmatched=reject_unmatched)
    delete_orphans = job.policy.delete == "orphans"
    unplaced = diff.protect_rejected(
        database,
        [one.label for one in sources],
        [one.label for one in job.sources if one.media_facts is not None],
    )
    may_delete = delete_orphans and not unplaced
    compaction = Compaction(resolved.entries, used_defaults, may_delete) if job.compact else None
    compacted = merge.build_wanted(database, sources, keys, compaction)
    diff.classify_unwanted(
        database,
        prefix,
        unplaced=unplaced,
        media_current=media_current,
        delete_orphans=delete_orphans,
    )
    if diff.needs_ledger(database, delete_orphans=delete_orphans):
        load_ledger()
    diff.build_plan(database, limit=limit, delete_orphans=delete_orphans, ledger_complete=ledger_complete)
    losing = check_existing(database, keys, stop=job.policy.existing == "stop", read=read_documents)
    if resolved.added:
        database.finding(
            Code.SCHEMA_CHANGED,
            "info",
            f"schema.json gains {len(resolved.added)} "
            f"entr{'ies' if len(resolved.added) > 1 else 'y'}: {', '.join(resolved.added)}",
        )
    if given is None:
        name_rewrites(database, resolved.edits, prices)
    for edit in resolved.schema_edits() if given is not None else ():
        database.finding(
            Code.SCHEMA_CHANGED,
            "warning",
            f"schema.json changes {edit.path}: {', '.join(edit.differences())}",
        )
    if resolved.removed:
        database.finding(
            Code.SCHEMA_CHANGED,
            "warning",
            f"schema.json loses {', '.join(entry.path for entry in resolved.removed)}",
            advice="without exact: true they would stay",
        )
    documents, size = _count_documents(database)
    limited = limit is not None
    compactable = 0
    if weigh_compaction and not (job.compact or limited) and documents.create >= PAGE:
        compactable = merge.puts_saved_by_compaction(database, keys, resolved.entries)
    no_media, unused = judge_emptiness(database, job, sources, counts, explain_no_media, limited=limited)
    media: int = database.value("SELECT count(*) FROM media WHERE included")
    with_metadata = count_media_with_metadata(database, "recorded" if job.compact else "wanted")
    shares = judge_shares(job, counts, media, with_metadata, limited=limited)
    # The first that was passed: what is wrong with the whole run before what is wrong with parts of it.
    too_many = _unread(job, relations), _rejects(job, counts)
    stops = (
        no_media,
        *too_many,
        unused,
        shares,
        _deletes(database, job),
        losing,
    )
    stopped, advice = next((stop for stop in stops if stop[0]), ("", ""))
    name_query_rows(database, sources)
    return Decided(
        counts, documents, resolved, unproved, stopped, advice, size, with_metadata, compacted, compactable
    )


def examples(database: Database) -> dict[str, list[Example]]:
    """The first ten targets of each action, with the reason."""
    found: dict[str, list[Example]] = {}
    for action in Action:
        rows = database.rows(
            "SELECT target, why FROM decided WHERE action = ? ORDER BY target LIMIT ?", [action, _EXAMPLES]
        )
        if rows:
            found[action] = [Example(*row) for row in rows]
    return found


def findings(database: Database) -> tuple[dict[str, int], list[Finding]]:
    """Findings by code, and the first ten of each, gravest first."""
    counts = dict(database.rows("SELECT code, count(*) FROM findings GROUP BY code ORDER BY code"))
    rows = database.rows(
        f"""
        SELECT code, severity, message, advice, source, file, row, media, target FROM findings
        QUALIFY row_number() OVER (PARTITION BY code ORDER BY {_FINDING_ORDER}) <= {_EXAMPLES}
        ORDER BY CASE severity WHEN 'error' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END, code, {_FINDING_ORDER}
        """
    )
    shown = [
        Finding(Code(code), Severity(severity), message, advice, source, file, row, media, target)
        for code, severity, message, advice, source, file, row, media, target in rows
    ]
    return counts, shown


def limit_of(limit: int | str, total: int, *, name: str) -> int:
    """A limit of the policy as a number: itself, or its share of `total`, rounded down."""
    if isinstance(limit, int):
        return limit
    try:
        return int(total * float(limit.strip().removesuffix("%")) / 100) if "%" in limit else int(limit)
    except ValueError as error:
        raise UsageError(f"policy.{name}: {limit!r} is neither a number nor a share such as 5%") from error


def _count_documents(database: Database) -> tuple[DocumentCounts, int]:
    counts = dict(database.rows("SELECT action, count(*) FROM decided GROUP BY action"))
    deferred = counts.pop("defer", 0)
    size: int = database.value(
        "SELECT coalesce(sum(size), 0)::BIGINT FROM decided WHERE action IN ('create', 'update')"
    )
    return DocumentCounts(deferred=deferred, **counts), size


def _unread(job: Job, relations: Sequence[RelationCounts]) -> tuple[str, str]:
    """Rows that are missing in what queries read, in words, and how to let them be missing."""
    for one in relations:
        key, limit = _limit_of_missing(job, one.name)
        most = limit_of(limit or 0, one.read, name="max_rejects")
        if one.rejected > most:
            rows = "1 row" if one.rejected == 1 else f"{one.rejected:,} rows"
            return (
                f"{rows} of the table {one.name} cannot be read, and a query reads it: a row that is missing "
                "makes other rows wrong",
                f"mend the rows, or let them be missing: --set {key}.max_rejects={one.rejected}",
            )
    return "", ""


def _limit_of_missing(job: Job, name: str) -> tuple[str, int | str | None]:
    """The key in the job of what queries read, a table or a reader's relation, and its limit."""
    for known in (name, name.rpartition(".")[0]):
        if known in job.tables:
            return f"tables.{known}", job.tables[known].max_rejects
    label = name.rpartition(".")[0]
    index = next(at for at, source in enumerate(job.sources) if source.label == label)
    return f"sources[{index}]", job.sources[index].max_rejects


def _rejects(job: Job, counts: Sequence[SourceCounts]) -> tuple[str, str]:
    """Too many rejected rows, in words, and how to let them pass."""
    rejected = sum(source.rejected for source in counts)
    most = limit_of(job.policy.max_rejects, sum(source.read for source in counts), name="max_rejects")
    if rejected > most:
        return (
            f"{rejected:,} row{'s were' if rejected > 1 else ' was'} rejected, "
            f"and policy.max_rejects is {job.policy.max_rejects}",
            f"mend the rows, or let them pass: --set policy.max_rejects={rejected}",
        )
    return "", ""


def _deletes(database: Database, job: Job) -> tuple[str, str]:
    """Too many orphans to delete, in words, and how to let them pass."""
    orphans, in_place = database.row(
        "SELECT (SELECT count(*) FROM decided WHERE action = 'delete' AND orphan), "
        "(SELECT count(*) FROM documents)"
    )
    most = limit_of(job.policy.max_delete, in_place, name="max_delete")
    if orphans > most:
        return (
            f"{orphans:,} orphaned document{'s' if orphans > 1 else ''} of {in_place:,} would be deleted, "
            f"and policy.max_delete is {job.policy.max_delete}",
            f"look at them with `metaferry plan`, then let them pass: --set policy.max_delete={orphans}",
        )
    return "", ""
