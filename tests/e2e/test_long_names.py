"""A document whose name the store cannot hold is found in the plan, and its row named."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.world import World
from metaferry.lightly.key_limits import KeyLimits
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal


def test_a_name_that_is_too_long_for_the_disk_is_a_reject_of_the_plan(tmp_path: Path) -> None:
    world = World(tmp_path)
    fits, long = "f" * 250, "l" * 251  # .json is a character more than .png
    for stem in (fits, long):
        world.put(f"data/{stem}.png", b"image")
    world.put("tables/t.csv", f"file_name,n\n{fits}.png,1\n{long}.png,2\n")
    world.job = {"input": "data", "sources": [{"table": "tables/t.csv"}], "policy": {"max_rejects": 1}}
    world.write_job()
    for command in ("plan", "sync"):
        ran = world.run(command, "job.yaml", "--format", "json")
        assert ran.code == 3
        assert ran.report["rejects"] == {"name.too_long": 1}
        assert "document.failed" not in ran.report["findings"]
        assert ran.report["documents"]["create"] == 1
        assert ran.report["schema"]["written"]
    [reject] = world.rejects()
    assert (reject["row"], reject["value"]) == (3, f"{long}.png"[:200])
    assert reject["message"].endswith("would have a name of 256 bytes, and this store takes 255")
    assert set(world.tree()) == {f".lightly/metadata/{fits}.json", ".lightly/metadata/schema.json"}


@pytest.mark.parametrize(
    ("url", "limits"),
    [
        ("s3://bucket/pr\u00e9/", KeyLimits(key=1024 - 5)),
        ("gs://bucket/a/b", KeyLimits(key=1024 - 4)),
        ("az://container/pr\u00e9", KeyLimits(key=1024 - 4, in_characters=True)),
    ],
)
def test_what_is_left_of_a_key_below_the_prefix_is_known(url: str, limits: KeyLimits) -> None:
    options = {"account_name": "a", "account_key": "a2V5"} if url.startswith("az") else {"token": "anon"}
    storage = open_storage(url, {} if url.startswith("s3") else options)
    assert storage.capabilities.key_limits == limits


def test_the_longest_key_that_is_said_to_fit_is_taken_by_the_disk(tmp_path: Path) -> None:
    with Portal() as portal:
        storage = open_storage(str(tmp_path), {})
        limits = storage.capabilities.key_limits
        assert limits.name is not None
        assert limits.key is not None
        folders, rest = divmod(limits.key, limits.name + 1)
        key = "/".join([*["f" * limits.name] * folders, "n" * rest])
        assert len(key) == limits.key
        portal.run(storage.put(key, b"{}"))
        assert portal.run(storage.read(key)).data == b"{}"
        portal.run(storage.close())
