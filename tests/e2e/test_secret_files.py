"""Credentials from files, which whoever rotates them replaces: read again by long runs and by `serve`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import metaferry
from e2e.serving import LONG, serving
from e2e.world import World
from metaferry.demo import make_dataset
from metaferry.errors import Denied, Expired
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from servers.azure import FastAzure
from servers.azurite import ACCOUNT, KEY
from servers.s3 import FastS3

OLD, NEW = "canary-key-of-yesterday", "canary-key-of-today"


@pytest.fixture
def s3(fast_s3_server: FastS3) -> Iterator[FastS3]:
    yield fast_s3_server
    fast_s3_server.renew()
    fast_s3_server.reset()


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    dataset = make_dataset(tmp_path / "demo")
    picture = (dataset.media / dataset.images[0]).read_bytes()
    for name in "abcdef":
        world.put(f"data/images/{name}.png", picture)
    rows = "".join(f"images/{name}.png,city\n" for name in "abcdef")
    world.put("tables/labels.csv", f"file_name,scene\n{rows}")
    world.put("secrets/key", f"{OLD}\n")
    world.put("secrets/secret", "canary-secret-0815\n")
    world.job = {"input": "data", "sources": [{"table": "tables/labels.csv"}], "retry_for": 0}
    return world


def on_s3(world: World, server: FastS3) -> str:
    """The documents go to a new bucket, with credentials from files; the name of the bucket."""
    bucket: str = server.new_bucket()
    files = {name: f"${{file:{world.root}/secrets/{name}}}" for name in ("key", "secret")}
    world.job["lightly"] = f"s3://{bucket}"
    world.job["storage"] = {"s3": {**server.options, **files}}
    world.write_job()
    return bucket


@pytest.mark.parametrize("transport", ["auto", "fsspec"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_whose_credentials_expire_goes_on_with_those_in_the_file(
    world: World, s3: FastS3, transport: str, workers: int
) -> None:
    world.job |= {"transport": transport, "workers": workers}
    on_s3(world, s3)
    job = metaferry.Job.load(world.root / "job.yaml")
    world.put("secrets/key", NEW)
    s3.expire(OLD)
    report = metaferry.sync(job)
    assert (report.exit_code, report.documents.create) == (0, 6)


def test_a_file_that_was_not_replaced_ends_the_run_as_expired(world: World, s3: FastS3) -> None:
    on_s3(world, s3)
    s3.expire(OLD)
    with pytest.raises(Expired) as caught:
        metaferry.sync(metaferry.Job.load(world.root / "job.yaml"))
    assert "ExpiredToken" in str(caught.value)


def test_a_file_that_is_gone_is_named_with_what_to_do(world: World, s3: FastS3) -> None:
    on_s3(world, s3)
    job = metaferry.Job.load(world.root / "job.yaml")
    (world.root / "secrets/key").unlink()
    s3.expire(OLD)
    with pytest.raises(Expired) as caught:
        metaferry.sync(job)
    assert f"${{file:{world.root}/secrets/key}} does not exist" in caught.value.message
    assert "put the new credentials there" in caught.value.advice


def signature(until: timedelta) -> str:
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    return generate_account_sas(
        ACCOUNT,
        KEY,
        resource_types=ResourceTypes(container=True, object=True),
        permission=AccountSasPermissions(read=True, write=True, delete=True, list=True, create=True),
        expiry=datetime.now(UTC) + until,
    )


@pytest.mark.parametrize("transport", ["auto", "fsspec"])
def test_a_signature_of_azure_that_ran_out_is_read_again(
    tmp_path: Path, fast_azure_server: FastAzure, portal: Portal, transport: Any
) -> None:
    """Azure answers 403 to one that ran out, as to one without rights: the file tells them apart."""
    server = fast_azure_server
    file = tmp_path / "sas"
    old, new = signature(timedelta(hours=1)), signature(timedelta(hours=2))
    file.write_text(old)
    given = f"BlobEndpoint={server.endpoint}/{ACCOUNT};SharedAccessSignature=${{file:{file}}}"
    job = metaferry.Job.from_mapping(
        {
            "input": f"az://{server.new_bucket()}/x",
            "sources": [{"table": "/t.csv"}],
            "storage": {"az": {"connection_string": given}},
        }
    )
    storage = open_storage(job.input.url, job.storage_options(job.input), transport=transport, retry_for=0)
    try:
        portal.run(storage.put("a.json", b"1"))
        # A part of it that every client sends as it stands, however it quotes the rest.
        server.expire(max(re.split("[^A-Za-z0-9]", unquote(old.rpartition("sig=")[2])), key=len))
        with pytest.raises(Denied):
            portal.run(storage.put("b.json", b"2"))
        assert storage.requests.retries == 0
        file.write_text(new)
        portal.run(storage.put("b.json", b"2"))
        assert portal.run(storage.read("b.json")).data == b"2"
        assert storage.requests.retries == 1
    finally:
        portal.run(storage.close())
        server.renew()
        server.reset()


def test_a_kept_plan_is_finished_with_the_secret_of_that_day(world: World, s3: FastS3) -> None:
    on_s3(world, s3)
    planned = world.run("plan", "job.yaml", "--keep", "--format", "json").report
    plan = planned["report_url"]
    kept = [data for name, data in s3.objects(plan.split("/")[2]).items() if name.endswith("plan.json")]
    assert [OLD.encode() in each for each in kept] == [False]
    job = json.loads(kept[0])["job"]
    assert job["storage"]["s3"]["key"] == f"${{file:{world.root}/secrets/key}}"
    world.put("secrets/key", NEW)
    s3.expire(OLD)
    # The plan itself is opened by flags, as it is in a bucket; the job that it keeps has the file.
    key = f"storage.s3.key=${{file:{world.root}/secrets/key}}"
    for arguments in (
        ("sync", "job.yaml", "--plan", plan, "--shard-index", "0", "--num-shards", "1"),
        ("finish", plan, "--set", key, *_flags(s3)),
    ):
        ran = world.run(*arguments)
        assert ran.code == 0, ran.err
        assert "canary-key" not in ran.out + ran.err


def _flags(server: FastS3) -> list[str]:
    return [
        part
        for name, value in server.options.items()
        if name != "key"
        for part in ("--set", f"storage.s3.{name}={json.dumps(value)}")
    ]


@pytest.mark.slow
def test_serve_reads_the_files_anew_for_every_run(world: World, s3: FastS3) -> None:
    on_s3(world, s3)
    with serving(world, "--every", "1s", "--jitter", "0", "--format", "json") as it:
        assert json.loads(it.line())["exit_code"] == 0
        world.put("secrets/key", NEW)
        s3.expire(OLD)
        codes = [json.loads(it.line())["exit_code"] for _ in range(3)]
        assert codes[1:] == [0, 0]  # the first of them may have been under way
        it.end()
        assert OLD not in "".join(it.heard)


@pytest.mark.slow
def test_serve_names_a_file_that_is_missing_at_the_start(world: World, s3: FastS3) -> None:
    on_s3(world, s3)
    (world.root / "secrets/key").unlink()
    ran = world.run_process("serve", "job.yaml", *LONG, "--port", "0")
    assert ran.code == 2
    assert f"storage.s3.key: the file {world.root}/secrets/key does not exist" in ran.err
