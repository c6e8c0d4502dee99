"""A plan in a folder of its own, at any URL: written by `plan --keep` or `--out`, read to be applied.

`shard=NNN/*.parquet` hold the rows, `findings.parquet` and `rejects.parquet` what could not be used,
`page.gz` what a page of the run shows of values (where its job wants one), `plan.json` everything else,
with the name, size and MD5 of each file. It is written last and, where the folder has another plan, deleted
first: a folder without it is no plan, and files that it does not name are not of this plan.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from metaferry.errors import Changed, NotFound, SafetyStop, UsageError
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.job.serialize import keep_job
from metaferry.lightly.document import md5_hex
from metaferry.lightly.schema import Entry
from metaferry.planning import diff
from metaferry.planning.database import Database
from metaferry.planning.formats import (
    JOINED_VIDEOS,
    OLDER_PLAN_VERSIONS,
    PLAN_VERSION,
    Action,
    KeptPlan,
    PlanFile,
    PlanReport,
    PlanShard,
    Report,
    read_format,
)
from metaferry.planning.sql.rules import quote_text
from metaferry.runs.state.folder import KEPT_PLAN
from metaferry.runs.state.ledger import export_parquet
from metaferry.storage.io.concurrent import in_order
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage

PLAN: Final = "plan.json"
PAGE: Final = "page.gz"
#: What makes a plan, for messages.
MAKE: Final = "metaferry plan JOB --keep (or --out DIR)"
#: Bytes of a plan's files that are in memory at once, where one alone is not more.
_IN_MEMORY: Final = 128 << 20
_NAME: Final = re.compile(r"(shard=[0-9]+/[A-Za-z0-9_-]+|rejects|findings|joined_videos)\.parquet|page\.gz")


def plan_location(job: Job, plan: str) -> Location:
    """The folder of a plan, with the options of the job's own location that it lies below, if any.

    A location whose URL holds credentials lends them, too: the URL of its plan is shown without.
    """
    for location in (job.state_location, job.lightly_location):
        if _is_below(plan, location.url):
            return Location.named(plan, location.options)
        if _is_below(plan, location.shown):
            return location.below(plan.rstrip("/")[len(location.shown.rstrip("/")) + 1 :])
    return Location.named(plan)


def kept_location(job: Job, plan_id: str) -> Location:
    """Where a plan is kept unless another folder is named: with the other files of its run."""
    return job.state_location.below(f"runs/{plan_id}{KEPT_PLAN.rstrip('/')}")


def _is_below(url: str, folder: str) -> bool:
    return f"{url.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def plan_url(folder: Storage) -> str:
    """The URL of the plan.json in a folder, for messages."""
    return f"{folder.url.rstrip('/')}/{PLAN}"


def write_plan(
    database: Database,
    job: Job,
    report: Report,
    storage: Storage,
    portal: Portal,
    *,
    schema: Iterable[Entry],
    schema_token: str | None,
    min_shards: int = 1,
    page: bytes | None = None,
) -> KeptPlan:
    """Writes what was decided into a folder; `report.shards` then says how many shards there are.

    `page`: what a page of the run is made of; nothing here looks into it.
    """
    folder = database.scratch / "plan"
    report.shards = diff.write_plan(database, min_shards=min_shards)
    _remove_plan(storage, portal, job.concurrency)
    counts = _counts(database, report.shards, folder)
    files = {
        number: sorted(folder.glob(f"shard={number:03d}/*.parquet")) for number, _writes, _deletes in counts
    }
    kept = _put_all(storage, portal, folder, [file for some in files.values() for file in some], job)
    shards = [
        PlanShard(number, writes, deletes, tuple(kept[file] for file in files[number]))
        for number, writes, deletes in counts
    ]
    rejects, findings = (
        portal.run(_put(storage, f"{name}.parquet", export_parquet(database, f"FROM {name}", name)))
        for name in ("rejects", "findings")
    )
    joined = None
    if database.value(f"SELECT count(*) FROM {JOINED_VIDEOS}"):
        rows = export_parquet(database, f"FROM {JOINED_VIDEOS}", JOINED_VIDEOS)
        joined = portal.run(_put(storage, f"{JOINED_VIDEOS}.parquet", rows))
    page_file = None if page is None else portal.run(_put(storage, PAGE, page))
    mapping, left_out = keep_job(job)
    report.report_url = plan_url(storage)
    planned = PlanReport(**{name: getattr(report, name) for name in PlanReport.__dataclass_fields__})
    kept_plan = KeptPlan(
        plan_id=report.run_id,
        job_digest=report.job_digest,
        listed=report.started,
        report=planned,
        schema=tuple(entry.to_json() for entry in schema),
        schema_token=schema_token,
        shards=tuple(shards),
        rejects=rejects,
        findings=findings,
        job=mapping,
        job_left_out=left_out,
        page=page_file,
        joined=joined,
    )
    portal.run(storage.put(PLAN, kept_plan.to_json()))
    return kept_plan


def read_plan(storage: Storage, portal: Portal) -> KeptPlan:
    """The plan in a folder. UsageError where there is none, or one that this version cannot read."""
    place = plan_url(storage)
    try:
        data = portal.run(storage.read(PLAN)).data
    except NotFound as error:
        raise UsageError(
            f"{place}: there is no such file, so this is no plan, or one that was not written to its end",
            advice=f"make it (again): {MAKE}",
        ) from error
    try:
        return _parse(data)
    except ValueError as error:
        raise UsageError(f"{place}: cannot be used: {error}", advice=f"make it again: {MAKE}") from None


def check_plan(plan: KeptPlan, job: Job, place: str) -> None:
    """UsageError for a plan of another job, SafetyStop for one that a limit of the policy stopped."""
    if plan.job_digest != job.digest():
        raise UsageError(
            f"{place}: this plan was made from another job, or from this one before it was changed "
            f"(its digest is {plan.job_digest[:12]}, the job's is {job.digest()[:12]})",
            advice=f"make it again from this job: {MAKE}",
        )
    if plan.report.stopped:
        raise SafetyStop(
            f"{place}: a safety limit forbids applying this plan: {plan.report.stopped}",
            advice=f"{plan.report.advice}; then make the plan again",
        )


def fetch(
    storage: Storage, portal: Portal, files: Sequence[PlanFile], folder: Path, *, concurrency: int
) -> None:
    """Brings files of a plan into a folder. Raises Changed where one is not what the plan says."""

    async def one(file: PlanFile) -> None:
        data = (await storage.read(file.name)).data
        if len(data) != file.size or md5_hex(data) != file.md5:
            raise Changed(
                f"{storage.url.rstrip('/')}/{file.name}: is not the file that {PLAN} describes",
                url=storage.url,
                path=file.name,
                advice=f"make the plan again: {MAKE}",
            )
        (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_bytes(data)

    most = _parallel_files(concurrency, max((file.size for file in files), default=0))
    portal.run(in_order(files, one, most=most))


def _parallel_files(concurrency: int, largest: int) -> int:
    """How many files of a plan may be in memory at once, each while its request is under way."""
    return max(1, min(concurrency, _IN_MEMORY // max(1, largest)))


def _put_all(
    storage: Storage, portal: Portal, folder: Path, files: Sequence[Path], job: Job
) -> dict[Path, PlanFile]:
    async def one(file: Path) -> PlanFile:
        data = await asyncio.to_thread(file.read_bytes)
        return await _put(storage, file.relative_to(folder).as_posix(), data)

    largest = max((file.stat().st_size for file in files), default=0)
    put = portal.run(in_order(files, one, most=_parallel_files(job.concurrency, largest)))
    return dict(zip(files, put, strict=True))


def _remove_plan(storage: Storage, portal: Portal, concurrency: int) -> None:
    """Deletes a plan that is there already: its plan.json first, then the files that it names."""
    try:
        data = portal.run(storage.read(PLAN)).data
    except NotFound as error:
        if not error.path:
            raise
        return
    portal.run(storage.delete(PLAN))
    try:
        before = _parse(data)
    except ValueError:
        return  # its other files are not read without it
    names = [file.name for file in _files(before)]
    portal.run(in_order(names, storage.delete, most=concurrency))


def _parse(data: bytes) -> KeptPlan:
    """ValueError where it is no plan; also where it names files that no plan of ours has."""
    plan = read_format(KeptPlan, data, PLAN_VERSION, older=OLDER_PLAN_VERSIONS)
    for file in (*_files(plan), plan.rejects, plan.findings, *filter(None, (plan.page, plan.joined))):
        if _NAME.fullmatch(file.name) is None:
            raise ValueError(f"{file.name!r} is no file of a plan")
    if [shard.number for shard in plan.shards] != list(range(len(plan.shards))):
        raise ValueError("its shards are not numbered from 0 on")
    return plan


def _files(plan: KeptPlan) -> list[PlanFile]:
    return [file for shard in plan.shards for file in shard.files]


async def _put(storage: Storage, name: str, data: bytes) -> PlanFile:
    await storage.put(name, data)
    return PlanFile(name, len(data), md5_hex(data))


def _counts(database: Database, shards: int, folder: Path) -> list[tuple[int, int, int]]:
    """Number, writes and deletes of every shard, also of empty ones."""
    files = [str(file) for file in sorted(folder.glob("shard=*/*.parquet"))]
    if not files:
        return [(number, 0, 0) for number in range(shards)]
    listed = ", ".join(map(quote_text, files))
    counted = {
        int(shard): (writes, deletes)
        for shard, writes, deletes in database.rows(
            f"SELECT shard, count(*) FILTER (action IN ('{Action.CREATE}', '{Action.UPDATE}')), "
            f"count(*) FILTER (action = '{Action.DELETE}') "
            f"FROM read_parquet([{listed}], hive_partitioning = true, hive_types = {{shard: INTEGER}}) "
            "GROUP BY shard"
        )
    }
    return [(number, *counted.get(number, (0, 0))) for number in range(shards)]
