"""Writing a plan in little memory, at the sizes where one step of it takes nearly all there is."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from metaferry.apply.shards import shard_files
from metaferry.planning.database import open_database
from metaferry.planning.diff import write_plan


@pytest.mark.slow
@pytest.mark.parametrize("rows", [120_000, 150_000, 180_000])
def test_a_plan_is_written_whatever_share_of_the_memory_its_documents_take(rows: int, tmp_path: Path) -> None:
    with open_database(memory_limit="64MB", scratch=str(tmp_path)) as database:
        database.run(
            f"""
            CREATE TABLE wanted AS
            SELECT format('.lightly/metadata/2026/image-{{:07d}}.json', n) AS target, 'image' AS kind,
                   format('2026/image-{{:07d}}.png', n) AS media, repeat(md5(n::VARCHAR), 9) AS body,
                   md5(n::VARCHAR) AS md5, 288::BIGINT AS size
            FROM range({rows}) t(n)
            """
        )
        database.run(
            """
            CREATE TABLE decided AS
            SELECT target, kind, media, 'create' AS action, md5, size, NULL::VARCHAR AS expect,
                   NULL::VARCHAR AS replacement, false AS damaged, 'new' AS why, rowid AS wid,
                   NULL::BIGINT AS expect_size, false AS ours
            FROM wanted
            """
        )
        shards = write_plan(database)
        files = shard_files(database.scratch / "plan")
        assert len(files) >= shards == -(-rows // 50_000)
        assert sum(pq.read_metadata(file).num_rows for file in files) == rows
