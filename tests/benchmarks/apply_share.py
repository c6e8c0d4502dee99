"""What the upload path costs over its bare storage client: documents a second, in turn, in one sitting.

    python -m benchmarks.apply_share [DOCUMENTS] [ROUNDS] [--json PATH]

One local S3 server in a process of its own. "bare" is the plain loop that one would write: N
workers around one s3fs, `_pipe_file` and nothing else, its connection pool as large as N. "apply"
is everything `sync` does once the plan is there: reading the plan's Parquet, conditional puts,
retry layer, checksums, outcomes into the database. They take turns, so that a machine that slows
down slows both. The figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import Iterator

from benchmarks import record
from servers.ministack import S3Server, ministack

CONCURRENCY = 64


def documents(count: int) -> Iterator[tuple[str, str]]:
    """Target and body, about 300 bytes each."""
    for n in range(count):
        name = f"2026/{n % 100:03d}/image_{n:07d}.png"
        body = (
            f'{{"file_name":"{name}","type":"image","metadata":{{"objects":{n % 37},"scene":"city street",'
            f'"speed":{n / 7!r},"timeofday":"daytime","note":"{"x" * 100}",'
            f'"weather":{{"description":"rainy","temperature":{n % 400 / 10!r}}}}}}}'
        )
        yield f".lightly/metadata/{name[:-4]}.json", body


async def bare(server: S3Server, bucket: str, count: int) -> float:
    """Seconds of the plain loop, connecting included."""
    import s3fs

    options = server.options
    options["config_kwargs"] = {**options["config_kwargs"], "max_pool_connections": CONCURRENCY}
    start = time.perf_counter()
    files = s3fs.S3FileSystem(asynchronous=True, skip_instance_cache=True, **options)
    session = await files.set_session()
    work = documents(count)

    async def worker() -> None:
        for target, body in work:
            await files._pipe_file(f"{bucket}/{target}", body.encode())

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    await session.close()
    return time.perf_counter() - start


def apply(server: S3Server, bucket: str, count: int) -> float:
    """Seconds of `apply_plan` with outcomes, connecting included; the plan is there already."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from metaferry.apply.apply import apply_plan
    from metaferry.apply.outcome import Tally
    from metaferry.lightly.document import md5_hex
    from metaferry.planning.database import open_database
    from metaferry.planning.formats import OUTCOME_COLUMNS, ddl
    from metaferry.runs.outcomes import Outcomes
    from metaferry.storage.factory import open_storage
    from metaferry.storage.io.portal import Portal

    with open_database(memory_limit="1GB", scratch=None) as database, Portal() as portal:
        plan = database.scratch / "plan"
        (plan / "shard=000").mkdir(parents=True)
        targets, bodies = zip(*documents(count), strict=True)
        table = pa.table(
            {
                "target": targets,
                "action": ["create"] * count,
                "body": bodies,
                "md5": [md5_hex(body.encode()) for body in bodies],
                "expect": pa.nulls(count, pa.string()),
            }
        )
        pq.write_table(table, plan / "shard=000/data_0.parquet", compression="zstd")
        database.run(ddl("outcomes", OUTCOME_COLUMNS))
        tally = Tally()
        start = time.perf_counter()
        storage = open_storage(f"s3://{bucket}", server.options, concurrency=CONCURRENCY, retry_for=60)
        with contextlib.closing(Outcomes(database)) as outcomes:
            portal.run(apply_plan(plan, storage, concurrency=CONCURRENCY, record=outcomes.add, tally=tally))
        portal.run(storage.close())
        seconds = time.perf_counter() - start
        assert tally.create == count, tally
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("documents", nargs="?", type=int, default=5_000)
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    asked, found = record.begin(parser, documents=50, rounds=1)
    count, ratios, figures = asked.documents, [], []
    with ministack() as server:
        asyncio.run(bare(server, server.new_bucket(), 500))  # imports and a warm server for both
        for turn in range(asked.rounds):
            plain = count / asyncio.run(bare(server, server.new_bucket(), count))
            ours = count / apply(server, server.new_bucket(), count)
            ratios.append(ours / plain)
            figures.append({"bare": plain, "apply": ours})
            print(f"round {turn + 1}: bare s3fs {plain:6,.0f}/s, apply {ours:6,.0f}/s, {ratios[-1]:.0%}")
    print(f"apply reaches {statistics.median(ratios):.0%} of the bare s3fs loop (median of {asked.rounds})")
    found.write({"documents": count, "objects_per_second": figures, "share": statistics.median(ratios)})


if __name__ == "__main__":
    main()
