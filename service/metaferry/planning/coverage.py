"""Whether a plan does anything: rows that are used, media that get metadata, and the limits on both.

A source of whose rows none is used, or an input without media, is a wrong path in the job far more often
than it is meant, so it stops the run before its first write unless `policy.allow_empty` says otherwise.
A table without rows is no such thing: tomorrow's partition is empty until tomorrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.planning.advice.spelling import nearest_spelling
from metaferry.planning.database import Database
from metaferry.planning.formats import SourceCounts
from metaferry.tables.model import Loaded

#: Answers what is there in place of media, and what to write instead; asked only where there are none.
ExplainNoMedia = Callable[[], tuple[str, str]]

#: What was passed, in words, and how to let it pass; empty where nothing was.
Stopped = tuple[str, str]

_ALLOW = "to go on all the same: --set policy.allow_empty=true"


def count_media_with_metadata(database: Database, records: str = "wanted") -> int:
    """How many media the table `records` has a row of, or of a frame of which it has one."""
    found: int = database.value(
        f"""
        SELECT (SELECT count(*) FROM {records} WHERE kind <> 'frame')
             + (SELECT count(*) FROM (SELECT DISTINCT media FROM {records} WHERE kind = 'frame') f
                ANTI JOIN (SELECT media FROM {records} WHERE kind = 'video') v USING (media))
        """
    )
    return found


def meant(counts: SourceCounts) -> int:
    """The rows of a source that speak of media that the job takes in, or of none at all, each once."""
    return counts.read - counts.excluded - counts.filtered - counts.repeated


def judge_emptiness(
    database: Database,
    job: Job,
    sources: Sequence[Loaded],
    counts: Sequence[SourceCounts],
    explain: ExplainNoMedia,
    *,
    limited: bool,
) -> tuple[Stopped, Stopped]:
    """Findings for what is empty or unused; and the stops for an input without media, and for a source.

    A source whose rows were all rejected is for `policy.max_rejects` to judge. Where the run is `limited`,
    nobody asked for all of it, and unused rows stop nothing.
    """
    for loaded in sources:
        if loaded.read == loaded.filtered:
            what = "the table has no rows" if loaded.files else "no file matches it yet"
            if loaded.is_query:
                what = "the query gives no rows"
            if loaded.read:
                what = f"`where` leaves out all of its {loaded.read:,} rows"
            database.finding(
                Code.SOURCE_EMPTY,
                "warning",
                what,
                advice="nothing, where that is normal for now; no document comes from it in this run",
                source=loaded.label,
            )
    allowed = job.policy.allow_empty
    no_media = _no_media(database, job, explain)
    unused = [
        (index, found)
        for index, found in enumerate(counts)
        if meant(found) and not found.used and found.rejected < meant(found)
    ]
    stops = [
        _unused(
            database,
            job,
            sources[index],
            index,
            found,
            has_media=not no_media[0],
            stopping=not (allowed or limited),
        )
        for index, found in unused
    ]
    first = stops[0] if stops and not allowed and not limited else ("", "")
    return ("", "") if allowed else no_media, first


def judge_shares(
    job: Job, counts: Sequence[SourceCounts], media: int, with_metadata: int, *, limited: bool
) -> Stopped:
    """The stop for too small a share of used rows, or of media with metadata."""
    if limited:
        return "", ""
    least = _share(job.policy.min_used)
    for source in counts:
        of = meant(source)
        if of and source.used < least * of:
            return (
                f"{source.used:,} of the {of:,} rows of {source.name} are used ({source.used / of:.1%}), "
                f"and policy.min_used is {job.policy.min_used}",
                "the findings name the others; to go on all the same: --set policy.min_used=0%",
            )
    if media and with_metadata < _share(job.policy.min_coverage) * media:
        return (
            f"{with_metadata:,} of {media:,} media have metadata ({with_metadata / media:.1%}), "
            f"and policy.min_coverage is {job.policy.min_coverage}",
            "look whether the tables are whole; to go on all the same: --set policy.min_coverage=0%",
        )
    return "", ""


def _share(text: str) -> float:
    return float(text.removesuffix("%")) / 100


def _no_media(database: Database, job: Job, explain: ExplainNoMedia) -> Stopped:
    if database.value("SELECT count(*) FROM media WHERE included"):
        return "", ""
    message, advice = explain()
    severity = "warning" if job.policy.allow_empty else "error"
    database.finding(Code.MEDIA_NONE, severity, message, advice=advice)
    return message, _joined(advice, _ALLOW)


def _unused(
    database: Database,
    job: Job,
    source: Loaded,
    index: int,
    found: SourceCounts,
    *,
    has_media: bool,
    stopping: bool,
) -> Stopped:
    names = database.rows(
        f"SELECT given FROM match_{index} WHERE code = '{Code.RECORD_UNMATCHED}' "
        f"ORDER BY {_first(source)} LIMIT 1"
    )
    what = [f"{found.rejected:,} rejected"] if found.rejected else []
    what += [f'{found.unmatched:,} unmatched, such as "{names[0][0][:200]}"'] if names else []
    rows = meant(found)
    which = f"none of the {rows:,} rows of {found.name} is" if rows > 1 else f"the row of {found.name} is not"
    message = f"{which} used: {', '.join(what)}"
    advice = nearest_spelling(database, source, index, input_url=job.input.shown) if has_media else ""
    severity = "error" if stopping else "warning"
    database.finding(Code.SOURCE_UNUSED, severity, message, advice=advice, source=found.name)
    return message, _joined(advice, _ALLOW)


def _first(source: Loaded) -> str:
    """What the rows of a source are ordered by; those of a query have no lines."""
    return "given" if source.is_query else 'file, "row"'


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
