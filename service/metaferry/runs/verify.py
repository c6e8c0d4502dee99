"""Reads back a sample of what a run wrote, and compares it with the planned bytes.

The store's checksum of every put is compared anyway (storage contract); this is for what comes after
it: a proxy, a gateway or a disk that reports success and keeps other bytes. A document that reads back
wrong is written once more and read again; one that is still wrong counts as failed and is not in the
ledger. Damaged documents are recorded until they read back right (`damage.py`): those of earlier runs
are read whatever the share.
"""

from __future__ import annotations

import random as randomness
from typing import Final

from metaferry.errors import NotFound, Scope, StorageError
from metaferry.findings import Code
from metaferry.lightly.document import md5_hex
from metaferry.planning.database import Database
from metaferry.planning.formats import Report
from metaferry.progress import Progress
from metaferry.runs.state.damage import Damage
from metaferry.storage.io.concurrent import batched, in_order
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ABSENT, ANYTHING, Precondition, Storage

#: Rows of the sample in memory, and how many documents are read, or written again, in parallel: so many
#: that those waiting for retries do not block the others.
_SLICE: Final = 65_536
_PARALLEL: Final = 256
#: A shard that is tried again has only the bodies of documents that it did not write before.
_NO_BODY: Final[str | None] = "an earlier attempt wrote it, and the next one does it again"
_DONE: Final = "outcome = 'done' AND outcomes.action IN ('create', 'update')"


def verify(
    database: Database,
    storage: Storage,
    portal: Portal,
    report: Report,
    share: float,
    random: randomness.Random,
    progress: Progress,
    damage: Damage,
) -> None:
    """Reads `share` (0 to 1; above 0 at least one document) of the written ones, and those that are known
    to have been damaged; counts go into the report."""
    total = _draw(database, share, random.getrandbits(32))
    counts = report.verified
    for start in range(0, total, _SLICE):
        rows = database.rows(
            f"SELECT target, md5, action FROM sample WHERE n >= {start} AND n < {start + _SLICE} ORDER BY n"
        )
        problems = portal.run(_read_back(storage, [(target, md5) for target, md5, _ in rows], progress))
        counts.read += len(rows)
        bad = [(*row, problem) for row, problem in zip(rows, problems, strict=True) if problem is not None]
        if bad:
            damage.remember([target for target, _, _, _ in bad])
        tried = (
            pair
            for some in batched(bad, _PARALLEL)
            for pair in zip(some, _write_all_again(database, storage, portal, some), strict=True)
        )
        for (target, _, action, problem), (token, again) in tried:
            if again is None:
                counts.rewritten += 1
                database.run("UPDATE outcomes SET token = ? WHERE target = ?", [token, target])
            else:
                counts.wrong += 1
                setattr(report.documents, action, getattr(report.documents, action) - 1)
                report.documents.failed += 1
                database.run("UPDATE outcomes SET outcome = 'failed' WHERE target = ?", [target])
            database.finding(
                Code.DOCUMENT_CORRUPT,
                "warning" if again is None else "error",
                f"{problem}; " + ("written again, and now right" if again is None else again),
                advice="check the proxies and gateways between this machine and the store",
                target=target,
            )
    damage.forget(f"SELECT target FROM sample JOIN outcomes USING (target) WHERE {_DONE}")


def _draw(database: Database, share: float, seed: int) -> int:
    """Table `sample(n, target, md5, action)`: other documents in every run, by the seed; after those that
    are known to have been damaged."""
    known = "target IN (SELECT target FROM damaged)"
    done, damaged = database.row(f"SELECT count(*), count(*) FILTER ({known}) FROM outcomes WHERE {_DONE}")
    most = min(done, damaged + (max(1, round(done * share)) if share else 0))
    database.run(
        f"CREATE OR REPLACE TEMP TABLE sample AS SELECT row_number() OVER () - 1 AS n, * FROM ("
        f"SELECT target, md5, action FROM outcomes WHERE {_DONE} "
        f"ORDER BY {known} DESC, md5(target || '{seed}') LIMIT {most})"
    )
    return int(most)


async def _read_back(
    storage: Storage, documents: list[tuple[str, str]], progress: Progress
) -> list[str | None]:
    """What is wrong with each document; None where nothing is."""

    async def one(document: tuple[str, str]) -> str | None:
        problem = await _problem(storage, *document)
        progress.advance(1)
        return problem

    return await in_order(documents, one, most=_PARALLEL)


def _write_all_again(
    database: Database, storage: Storage, portal: Portal, bad: list[tuple[str, str, str, str]]
) -> list[tuple[str, str | None]]:
    """`_write_again` of each, in parallel."""
    targets = [target for target, _, _, _ in bad]
    wanted = "SELECT target, body FROM wanted WHERE target IN (SELECT unnest(?::VARCHAR[]))"
    bodies = dict(database.rows(wanted, [targets]))

    async def one(document: tuple[str, str, str, str]) -> tuple[str, str | None]:
        target, md5, _, _ = document
        if target not in bodies:
            return "", _NO_BODY
        return await _write_again(storage, target, bodies[target].encode(), md5)

    return portal.run(in_order(bad, one, most=_PARALLEL))


async def _problem(storage: Storage, target: str, md5: str) -> str | None:
    try:
        blob = await storage.read(target)
    except NotFound as error:
        if not error.path:
            raise
        return "written, but not there when it was read back"
    except StorageError as error:
        if error.scope is not Scope.OBJECT:
            raise  # the same for every document
        return f"written, but could not be read back: {error.message}"
    return None if md5_hex(blob.data) == md5 else "reads back as other bytes than were written"


async def _write_again(storage: Storage, target: str, body: bytes, md5: str) -> tuple[str, str | None]:
    """The token of one more put, and None when it reads back right after it, else what is wrong still."""
    try:
        only_if: Precondition = (await storage.read(target, 0, 1)).token
    except NotFound:
        only_if = ABSENT
    except StorageError as error:
        return "", error.message
    try:
        only = only_if if storage.capabilities.honours(only_if) else ANYTHING
        put_result = await storage.put(target, body, only_if=only)
    except StorageError as error:
        return "", error.message
    problem = await _problem(storage, target, md5)
    return put_result.token, None if problem is None else "after one more put it still does"
