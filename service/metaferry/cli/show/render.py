"""Reports for people: what was found, what changes and why, which rows could not be used, requests.

Pure functions from a report to lines. Nothing is parsed as markup, cut or wrapped, so the same lines
serve a terminal, a pipe and a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from rich.text import Text

from metaferry.cli.show.joined import joined_lines
from metaferry.cli.show.price import price_lines
from metaferry.cli.show.tables import table_lines
from metaferry.cli.show.text import columns, count, duration, heading, safe, share, size
from metaferry.findings import Code, Finding
from metaferry.planning.price.model import money

if TYPE_CHECKING:
    from metaferry.planning.formats import Example, PlanReport, Report, RunReport
    from metaferry.runs.lease.held import Unlocked
    from metaferry.storage.counts import RequestCounts

Line = str | Text

#: Fewest spans of the request rate that are drawn, and the characters for it.
_MIN_SPANS: Final = 5
_BARS: Final = " ▁▂▃▄▅▆▇█"

#: Findings shown per code; the others are counted.
SHOWN_FINDINGS: Final = 5
_STYLES: Final = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_ACTIONS: Final = {
    "create": ("create", "new"),
    "update": ("update", "changes, or is not known to be the same"),
    "delete": ("delete", "stale or orphaned"),
    "keep": ("keep", "unchanged"),
    "skip": ("skip", "in place, and not changed by this run"),
}
_DONE: Final = {
    "create": ("created", "new"),
    "update": ("updated", "changed, or not known to be the same"),
    "delete": ("deleted", "stale or orphaned"),
    "keep": ("kept", "unchanged"),
    "skip": ("skipped", "in place, and not changed by this run"),
    "failed": ("failed", "could not be written"),
    "conflict": ("conflict", "changed by somebody else during the run"),
    "deferred": ("deferred", "for a later run"),
}

#: Changed and removed entries that are listed.
_EDITS: Final = 10
#: Shard numbers that are listed.
_SHARDS: Final = 20


def plan_lines(report: PlanReport) -> Iterator[Line]:
    """What `metaferry plan` prints."""
    yield from _where("Plan", report)
    yield from _found(report)
    yield ""
    yield from table_lines(report.tables)
    yield from joined_lines(report)
    yield heading("Documents")
    yield from _documents(report, _ACTIONS.items())
    yield from _compact(report)
    yield from _schema(report, "would be written")
    yield from _backup(report, planned=True)
    yield from _examples(report.examples)
    yield from findings_lines(report)
    yield ""
    yield from price_lines(report.price, planned=True)
    yield from _verdict(report, planned=True)


def run_lines(report: RunReport) -> Iterator[Line]:
    """What `metaferry sync` prints."""
    yield from _where("Sync", report)
    yield from _found(report)
    yield ""
    yield heading("Documents")
    yield from _documents(report, _DONE.items())
    yield from _compact(report)
    yield from _schema(report, "was written")
    yield from _backup(report, planned=False)
    yield from _rate(report)
    yield from findings_lines(report)
    yield ""
    yield from price_lines(report.price, planned=False)
    yield from _verdict(report, planned=False)


def shard_lines(report: RunReport) -> Iterator[Line]:
    """What `metaferry sync --plan` prints of a share of the shards."""
    yield Text.assemble(("Shards ", "bold"), safe(report.lightly))
    yield ""
    listed = ", ".join(map(str, report.shards_here[:_SHARDS]))
    more = f" … and {len(report.shards_here) - _SHARDS} more" if len(report.shards_here) > _SHARDS else ""
    yield Text.assemble(("Shards   ", "bold"), f"{listed}{more} of the {report.shards:,} of this plan")
    yield ""
    yield heading("Documents")
    yield from _documents(report, _DONE.items())
    yield from _rate(report)
    yield from findings_lines(report)
    yield ""
    if report.stopped:
        yield Text.assemble(("Stopped: ", "bold red"), safe(report.stopped))
    elif report.exit_code == 3:
        yield Text("Some documents could not be written. Run it again: only those are tried.", style="yellow")
    else:
        yield Text(
            "These shards are done. `metaferry finish` completes the plan when all are.", style="bold green"
        )
    if report.advice:
        yield f"  → {safe(report.advice)}"
    yield Text(_cost(report), style="dim")


def unlock_lines(unlocked: Unlocked) -> Iterator[Line]:
    """What `metaferry unlock` prints."""
    url = safe(unlocked.url)
    if unlocked.holder is None:
        yield f"{url}: nobody holds the lease; nothing to remove"
        return
    yield f"{url}: removed the lease of {safe(unlocked.holder.name)}, {unlocked.held}"
    if unlocked.gone:
        yield "  its process had ended"
    else:
        yield "  if that run still exists it stops at its next renewal, and writes nothing more"


def findings_lines(report: Report) -> Iterator[Line]:
    """The findings of a report, and where its rejects are."""
    shown = list(finding_lines(report.findings, report.finding_examples))
    yield from shown
    if shown and report.rejects_url:
        yield f"  Every row that was not used: {safe(report.rejects_url)}"


def finding_lines(counts: Mapping[str, int], examples: Iterable[Finding]) -> Iterator[Line]:
    """Findings grouped by code, with their places and one advice each; `counts` is of all by code.

    New schema entries are not repeated: the line `Schema` lists them.
    """
    groups: dict[str, list[Finding]] = {}
    for finding in examples:
        if finding.code != Code.SCHEMA_CHANGED:
            groups.setdefault(finding.code, []).append(finding)
    if not groups:
        return
    yield ""
    yield heading("Findings")
    for code, shown in groups.items():
        total = counts.get(code, len(shown))
        severity = str(shown[0].severity)
        yield Text.assemble(f"  {total:>7,}  ", (severity, _STYLES.get(severity, "")), f"  {code}")
        last_advice = ""
        for finding in shown[:SHOWN_FINDINGS]:
            yield f"             {_place(finding)}{safe(finding.message)}"
            if finding.advice and finding.advice != last_advice:
                yield Text(f"             → {safe(finding.advice)}", style="dim")
                last_advice = finding.advice
        if total > SHOWN_FINDINGS:
            yield Text(f"             … and {total - min(SHOWN_FINDINGS, len(shown)):,} more", style="dim")


def _listed(report: Report) -> Iterator[Line]:
    """The age of the list of media, if it was not made just now."""
    listing = report.listing
    if listing.fresh:
        return
    if listing.basis == "inventory":
        text = (
            f"from the inventory of {listing.as_of}, {duration(listing.age)} old: {safe(listing.inventory)}"
        )
    else:
        resumed = count(listing.resumed, "object")
        text = f"{resumed} by an interrupted run {duration(listing.age)} ago; the rest now"
    yield Text.assemble(("Listed   ", "bold"), text)


def _where(what: str, report: Report) -> Iterator[Line]:
    apart = report.lightly and report.lightly.rstrip("/") != report.input.rstrip("/")
    into = f", documents in {safe(report.lightly)}" if apart else ""
    yield Text.assemble((f"{what} ", "bold"), safe(report.input), into)
    yield ""


def _found(report: Report) -> Iterator[Line]:
    media, frames = report.media, report.frames
    covered = f"; {share(media.coverage)} with metadata" if media.coverage is not None else ""
    more = [f"{media.excluded:,} more excluded"] if media.excluded else []
    more += [f"{media.refused:,} under names that no document can have"] if media.refused else []
    left_out = f" ({', '.join(more)})" if more else ""
    yield Text.assemble(
        ("Media    ", "bold"),
        f"{count(media.images, 'image')}, {count(media.videos, 'video')}{left_out}{covered}",
    )
    yield from _listed(report)
    if frames.counted or frames.cached or frames.unproved:
        parts = [f"{count(frames.counted, 'video')} counted", f"{frames.cached:,} cached"]
        if frames.unproved:
            parts.append(f"{frames.unproved:,} not proved")
        yield Text.assemble(("Frames   ", "bold"), ", ".join(parts))
    yield ""
    yield heading("Rows")
    titles = ("read", "used", "rejected", "unmatched", "excluded", "filtered", "repeated")
    rows = [["", *titles, "share used"]]
    for source in report.sources:
        numbers = (f"{getattr(source, title):,}" for title in titles)
        used = "–" if source.used_share is None else share(source.used_share)
        rows.append([safe(source.name), *numbers, used])
    # Columns of zeros are left out, except `read`, `used`, `rejected` and the share.
    last = len(titles) + 1
    wanted = [0, 1, 2, 3, *(at for at in range(4, last) if any(row[at] != "0" for row in rows[1:])), last]
    yield from columns([[row[at] for at in wanted] for row in rows], right=range(1, len(wanted)))
    yield from _relations(report)


def _relations(report: Report) -> Iterator[Line]:
    """The tables that queries read: their rows are no rows of a source."""
    if report.relations:
        yield ""
        yield heading("Tables that queries read")
        rows = [["", "read", "rejected"]]
        rows += [[safe(one.name), f"{one.read:,}", f"{one.rejected:,}"] for one in report.relations]
        yield from columns(rows, right=(1, 2))


def _documents(report: Report, names: Iterable[tuple[str, tuple[str, str]]]) -> Iterator[Line]:
    rows = []
    for action, (word, meaning) in names:
        number = getattr(report.documents, action)
        if number or action in ("create", "update", "keep"):
            rows.append([word, f"{number:,}", meaning])
    yield from columns(rows, right=(1,))


def _compact(report: Report) -> Iterator[Line]:
    """What there is no document for, and what that saves."""
    counts = report.compact
    if not counts.saved:
        return
    parts = []
    if counts.videos:
        documents = count(counts.folded, "document")
        parts.append(f"{documents} of frames are said by {count(counts.videos, 'document')} of videos")
    if counts.left_out:
        parts.append(f"{count(counts.left_out, 'document')} left out that would say defaults only")
    amount = counts.amount or 0.0
    cost = f", {money(amount, report.price.currency)} of puts" if amount >= 0.01 else ""
    yield Text.assemble(("Compact  ", "bold"), f"{'; '.join(parts)}: {counts.saved:,} objects fewer{cost}")


def _schema(report: Report, written: str) -> Iterator[Line]:
    schema = report.schema
    yield ""
    added = [safe(path) for path in schema.added]
    listed = ", ".join(added[:10]) + (f" … and {len(added) - 10} more" if len(added) > 10 else "")
    new = f", {len(added):,} of them new: {listed}" if added else ""
    state = f"schema.json {written}" if schema.written else "schema.json is unchanged"
    yield Text.assemble(("Schema   ", "bold"), f"{count(schema.entries, 'entry', 'entries')}{new}; {state}")
    for edit in schema.changed[:_EDITS]:
        yield f"         changed: {safe(edit.path)}: {safe(', '.join(edit.differences()))}"
    if len(schema.changed) > _EDITS:
        yield f"         … and {len(schema.changed) - _EDITS:,} more changed"
    if schema.removed:
        removed = [safe(path) for path in schema.removed]
        more = f" … and {len(removed) - _EDITS:,} more" if len(removed) > _EDITS else ""
        yield f"         removed: {', '.join(removed[:_EDITS])}{more}"


def _backup(report: Report, *, planned: bool) -> Iterator[Line]:
    """What is kept of the versions that are overwritten or deleted, and what that costs."""
    backup = report.backup
    if not backup.puts:
        return
    kept = f"{count(backup.documents, 'old version')} ({size(backup.bytes)})"
    cost = f"{backup.reads:,} get and {backup.puts:,} put"
    if planned:
        text = f"{kept} would be kept first, by {cost}"
    else:
        text = f"{kept} kept, by {cost}; undo: metaferry rollback JOB --run {safe(report.run_id)}"
    yield Text.assemble(("Backup   ", "bold"), text)


def _rate(report: Report) -> Iterator[Line]:
    """The request rate over time, if the run was long enough; the documents read back."""
    rate, verified = report.rate, report.verified
    if len(rate.answered) >= _MIN_SPANS:
        most = max(rate.answered)
        bars = "".join(_BARS[round(number / max(1, most) * (len(_BARS) - 1))] for number in rate.answered)
        refused = f", {sum(rate.throttled):,} refused" if any(rate.throttled) else ""
        yield Text.assemble(
            ("Rate     ", "bold"), f"{bars}  up to {most / rate.seconds:,.0f} requests/s{refused}"
        )
    if verified.read:
        right = "all as written"
        if verified.rewritten or verified.wrong:
            right = f"{verified.rewritten:,} written again, {verified.wrong:,} still wrong"
        yield Text.assemble(("Verified ", "bold"), f"{count(verified.read, 'document')} read back, {right}")


def _examples(examples: dict[str, list[Example]]) -> Iterator[Line]:
    for action in ("create", "update", "delete", "skip"):
        shown = examples.get(action, [])
        if not shown:
            continue
        yield ""
        yield Text.assemble(("Examples ", "bold"), f"of {action}")
        yield from columns([[safe(one.target), safe(one.why)] for one in shown])


def _verdict(report: Report, *, planned: bool) -> Iterator[Line]:
    cost = _cost(report)
    if report.stopped:
        word = "A sync would stop before its first write: " if planned else "Stopped: "
        yield Text.assemble((word, "bold red"), safe(report.stopped))
        if report.advice:
            yield f"  → {safe(report.advice)}"
    elif planned:
        yield _planned(report)
    elif report.exit_code == 3:
        yield Text("Done, but not everything: the findings above say what is missing.", style="yellow")
    elif report.changes or report.schema.written:
        yield Text("Done.", style="bold green")
    else:
        yield Text("Nothing to do: all documents are unchanged.", style="green")
    if planned:
        yield Text(f"No document was written. {cost}", style="dim")
    else:
        yield Text(cost, style="dim")
    if report.report_url and planned:
        yield Text(f"Plan: {safe(report.report_url)}", style="dim")
        if not report.stopped:
            yield Text(f"Apply it: metaferry sync JOB --plan {safe(report.report_url)}", style="dim")
    elif report.report_url:
        yield Text(f"Report: {safe(report.report_url)}", style="dim")
    if report.page_url:
        yield Text(f"Page: {safe(report.page_url)}", style="dim")


def _planned(report: Report) -> Line:
    writes = report.documents.create + report.documents.update
    if not report.changes and not report.schema.written:
        return Text("A sync would write nothing: all documents are unchanged.", style="green")
    deletes = f" and delete {count(report.documents.delete, 'document')}" if report.documents.delete else ""
    with_schema = ", then schema.json" if report.schema.written else ""
    return Text.assemble(
        ("A sync would ", "bold"),
        f"write {count(writes, 'document')} ({size(report.bytes_to_write)}){deletes}{with_schema}.",
    )


def _cost(report: Report) -> str:
    steps = ", ".join(f"{phase} {duration(seconds)}" for phase, seconds in report.seconds.items())
    return request_text(report.requests) + (f" Time: {steps}." if steps else "")


def request_text(requests: RequestCounts) -> str:
    """The requests that were made, as a sentence."""
    parts = [f"{requests.list:,} list", f"{requests.get:,} get", f"{requests.put:,} put"]
    if requests.delete:
        parts.append(f"{requests.delete:,} delete")
    if requests.retries:
        parts.append(count(requests.retries, "retry", "retries"))
    if requests.throttled:
        parts.append(f"{requests.throttled:,} throttled")
    return f"Requests: {', '.join(parts)}."


def _place(finding: Finding) -> str:
    """`images.csv:14: `, or what is known of it; the whole URL is in the report."""
    where = finding.file.rstrip("/").rpartition("/")[2] or finding.source
    if where:
        return f"{safe(where)}:{finding.row}: " if finding.row is not None else f"{safe(where)}: "
    named = finding.target or finding.media
    # Most messages name their document or media already.
    return f"{safe(named)}: " if named and named not in finding.message else ""
