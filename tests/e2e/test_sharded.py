"""A plan applied in shares by several processes: the tree of a plain sync, whatever happens between.

Each share is a process of its own where that matters; when one is ended is a condition, never a time.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.oracle import expected_documents, job_mapping, read_folder
from e2e.stores import DOCUMENT, Store, denied
from e2e.test_killed import (
    PART,
    AtTheNth,
    documents_below,
    job_file,
    part,
    running,
    wait_until,
)
from e2e.world import CANARIES, World
from metaferry import Job, ShardsMissing
from metaferry.demo import DemoDataset, make_dataset
from metaferry.errors import Denied, LeaseHeld, SafetyStop, UsageError
from metaferry.lightly.names import SCHEMA
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource
from servers.proxy import Rule, proxy

pytestmark = pytest.mark.slow

SHARDS = 6

#: 12 images and a video of 9 frames, for servers.
FEW = {"include": ["images/**", "videos/rear/2026-05-14_0930*"]}
FEW_DOCUMENTS = 12 + 1 + 9


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    make_dataset(folder)
    return folder


@pytest.fixture(scope="module")
def whole(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tree that a plain sync leaves; the oracle agrees with it."""
    folder = tmp_path_factory.mktemp("clean") / "demo"
    shutil.copytree(made, folder)
    dataset = make_dataset(folder)
    metaferry.sync(Job.from_mapping(job_mapping(dataset, str(dataset.media), {})))
    tree = read_folder(dataset.media)
    assert {key: body for key, body in tree.items() if key != SCHEMA} == expected_documents(dataset)
    return tree


@pytest.fixture(scope="module")
def clean(whole: dict[str, bytes]) -> dict[str, bytes]:
    """That of the part which most of these tests are about."""
    return part(whole)


def few(clean: dict[str, bytes]) -> dict[str, bytes]:
    stems = (".lightly/metadata/images/", ".lightly/metadata/videos/rear/2026-05-14_0930", SCHEMA)
    return {key: body for key, body in clean.items() if key.startswith(stems)}


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> DemoDataset:
    shutil.copytree(made, tmp_path / "demo")
    return make_dataset(tmp_path / "demo")


def a_job(dataset: DemoDataset, **changes: Any) -> Path:
    mapping = job_mapping(dataset, str(dataset.media), {}) | {"media": PART}
    return job_file(dataset.root, mapping | changes)


def a_plan(job: Path, folder: Path, shards: int = SHARDS) -> str:
    report = metaferry.plan(job, out=folder / "plan", shards=shards)
    assert report.shards == shards
    return str(folder / "plan")


def state(dataset: DemoDataset) -> list[str]:
    return sorted(
        path.relative_to(dataset.media / ".metaferry").as_posix()
        for path in (dataset.media / ".metaferry").rglob("*")
        if path.is_file()
    )


def adds_up(report: metaferry.RunReport, clean: dict[str, bytes]) -> None:
    counts = report.documents
    done = counts.create + counts.update + counts.keep + counts.failed + counts.conflict + counts.deferred
    assert done == len(clean) - 1
    for source in report.sources:
        left_out = source.unmatched + source.excluded + source.filtered + source.repeated
        assert source.read == source.used + source.rejected + left_out > 0


# -- shares


def test_shares_in_processes_of_their_own_make_the_same_tree(
    dataset: DemoDataset, clean: dict[str, bytes], tmp_path: Path
) -> None:
    world = World(tmp_path)
    job = str(a_job(dataset))
    assert world.run("plan", job, "--out", "plan", "--shards", str(SHARDS)).code == 0
    written = 0
    for index in range(3):
        early = world.run("finish", "plan")
        assert (early.code, early.out) == (1, "")
        assert f"{SHARDS - 2 * index} of its {SHARDS} shards are not done" in early.err
        assert "--shard-index" in early.err
        ran = world.run_process(
            "sync", job, "--plan", "plan", "--num-shards", "3", "--format", "json",
            environment={"JOB_COMPLETION_INDEX": str(index)},
        )  # fmt: skip
        assert (ran.code, ran.report["shards_here"]) == (0, [index, index + 3])
        written += ran.report["documents"]["create"]
        assert SCHEMA not in read_folder(dataset.media)
    assert written == len(clean) - 1 == documents_below(dataset.media)
    finished = world.run("finish", "plan", "--format", "json")
    assert finished.code == 0
    assert read_folder(dataset.media) == clean
    report = finished.report
    assert (report["documents"]["create"], report["schema"]["written"]) == (written, True)
    assert report["requests"]["put"] > written
    run = dataset.media / ".metaferry/runs" / report["run_id"]
    assert json.loads((run / "run.json").read_text()) == report
    before = world.data, state(dataset), read_folder(dataset.media)
    again = world.run("finish", "plan", "--format", "json")
    assert (again.code, again.report) == (0, report)
    assert "was finished at" in again.err
    assert (world.data, state(dataset), read_folder(dataset.media)) == before
    third = metaferry.sync(job)
    assert (third.exit_code, third.changes, third.schema.written) == (0, 0, False)
    assert third.documents.keep == written
    assert not (dataset.media / ".metaferry/lease.json").exists()
    assert not [name for name in state(dataset) if "shard-" in name]


def test_whole_plan_at_once_is_a_sync(dataset: DemoDataset, clean: dict[str, bytes], tmp_path: Path) -> None:
    job = a_job(dataset)
    plan = a_plan(job, tmp_path)
    report = metaferry.sync(job, plan=plan)
    assert (report.exit_code, report.documents.create, report.shards_here) == (0, len(clean) - 1, ())
    adds_up(report, clean)
    # Not twice: the shards' own requests are among those of the process.
    assert report.requests.put < len(clean) + 40
    assert read_folder(dataset.media) == clean
    assert metaferry.sync(job, plan=plan).to_dict() == report.to_dict()
    assert metaferry.sync(job).changes == 0


def test_a_shard_that_is_done_is_looked_at_and_no_more(dataset: DemoDataset, tmp_path: Path) -> None:
    job = a_job(dataset)
    plan = a_plan(job, tmp_path)
    first = metaferry.sync(job, plan=plan, shard_index=0, num_shards=SHARDS)
    assert first.documents.create > 10
    before = state(dataset)
    again = metaferry.sync(job, plan=plan, shard_index=0, num_shards=SHARDS)
    assert again.documents == first.documents
    asked = again.requests
    # plan.json, run.json that is not there, and the marker.
    assert (asked.list, asked.get, asked.put, asked.delete) == (1, 4, 0, 0)
    assert state(dataset) == before


def test_a_share_without_any_shard_is_done(dataset: DemoDataset, tmp_path: Path) -> None:
    job = a_job(dataset)
    plan = a_plan(job, tmp_path, shards=2)
    report = metaferry.sync(job, plan=plan, shard_index=7, num_shards=9)
    assert (report.exit_code, report.documents.create, report.requests.put) == (0, 0, 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_share_that_was_ended_goes_on(
    dataset: DemoDataset, whole: dict[str, bytes], tmp_path: Path, number: signal.Signals
) -> None:
    job = a_job(dataset, media={}, concurrency=1)
    plan = a_plan(job, tmp_path)
    share = ("--plan", plan, "--num-shards", "2", "--shard-index", "1")
    with running(job, *share) as process:
        wait_until(lambda: documents_below(dataset.media) >= 230, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    there = documents_below(dataset.media)
    done = [name for name in state(dataset) if "shard-" in name]
    assert 1 <= len(done) < SHARDS // 2, "one shard was done, and it was under way with another"
    if number is signal.SIGTERM:
        report = json.loads(out)
        assert (process.returncode, report["exit_code"]) == (143, 143)
        assert report["documents"]["deferred"] > 0
        assert "Traceback" not in err
    again = metaferry.sync(job, plan=plan, shard_index=1, num_shards=2)
    assert again.exit_code == 0
    assert again.findings.get("document.modified_externally", 0) == 0, "what we wrote is not somebody else's"
    assert again.documents.create == documents_below(dataset.media) > there
    metaferry.sync(job, plan=plan, shard_index=0, num_shards=2)
    report = metaferry.finish(plan)
    assert (report.exit_code, report.documents.create) == (0, len(whole) - 1)
    adds_up(report, whole)
    assert metaferry.sync(job).changes == 0
    assert read_folder(dataset.media) == whole, "its listing cleared away what the killed process left"


def test_two_processes_with_one_index_do_no_harm(
    dataset: DemoDataset, clean: dict[str, bytes], tmp_path: Path
) -> None:
    job = a_job(dataset, concurrency=1)
    plan = a_plan(job, tmp_path, shards=1)
    share = ("--plan", plan, "--num-shards", "1", "--shard-index", "0")
    with running(job, *share) as first:
        wait_until(lambda: documents_below(dataset.media) >= 50, first)
        with running(job, *share) as second:
            ended = [process.communicate(timeout=60) for process in (first, second)]
    for out, err in ended:
        assert "waiting" not in err
        report = json.loads(out)
        assert (report["exit_code"], report["documents"]["create"]) == (0, len(clean) - 1)
        assert report["findings"] == {}
    assert (first.returncode, second.returncode) == (0, 0)
    report = metaferry.finish(plan)
    assert report.documents.create == len(clean) - 1
    assert read_folder(dataset.media) == clean
    assert not (dataset.media / ".metaferry/lease.json").exists()


def test_no_other_run_writes_meanwhile(dataset: DemoDataset, clean: dict[str, bytes], tmp_path: Path) -> None:
    job = a_job(dataset, concurrency=1)
    plan = a_plan(job, tmp_path, shards=2)
    with running(job, "--plan", plan, "--num-shards", "2", "--shard-index", "0") as first:
        wait_until(lambda: documents_below(dataset.media) >= 50, first)
        first.send_signal(signal.SIGSTOP)
        with pytest.raises(LeaseHeld, match=f"process {first.pid}, run "):
            metaferry.sync(Job.load(job, ["lease_wait=0"]))
        beside = metaferry.sync(job, plan=plan, shard_index=1, num_shards=2)
        assert beside.exit_code == 0, "of the same plan one may"
        with pytest.raises(LeaseHeld):
            metaferry.sync(Job.load(job, ["lease_wait=0"]))
        first.send_signal(signal.SIGCONT)
        assert first.wait(60) == 0
    assert metaferry.finish(plan).exit_code == 0
    assert read_folder(dataset.media) == clean


def test_a_plan_waits_for_another_run(dataset: DemoDataset, tmp_path: Path) -> None:
    job = a_job(dataset, concurrency=1)
    plan = a_plan(job, tmp_path)
    with running(job) as other:
        wait_until(lambda: documents_below(dataset.media) >= 50, other)
        other.send_signal(signal.SIGSTOP)
        with pytest.raises(LeaseHeld):
            metaferry.sync(Job.load(job, ["lease_wait=0"]), plan=plan, shard_index=0, num_shards=2)
        other.send_signal(signal.SIGCONT)
        assert other.wait(60) == 0


# -- what is refused


def test_another_job_and_what_is_no_plan_are_refused(dataset: DemoDataset, tmp_path: Path) -> None:
    world = World(tmp_path)
    job = a_job(dataset)
    plan = Path(a_plan(job, tmp_path))
    ran = world.run("sync", str(job), "--plan", "plan", "--set", "policy.delete=orphans")
    assert (ran.code, ran.out) == (2, "")
    assert f"{plan}/plan.json: this plan was made from another job" in ran.err
    assert "metaferry plan JOB --keep" in ran.err
    faster = metaferry.sync(Job.load(job, ["concurrency=3"]), plan=plan, shard_index=0, num_shards=9)
    assert faster.exit_code == 0, "how fast it is decides nothing"
    with pytest.raises(UsageError, match=r"elsewhere/plan\.json: there is no such file"):
        metaferry.sync(job, plan=tmp_path / "elsewhere")
    kept = json.loads((plan / "plan.json").read_text())
    for change, why in (
        ({"version": 99}, "of version 99"),
        ({"rejects": {"name": "../up.parquet", "size": 1, "md5": ""}}, "no file of a plan"),
        ({"shards": kept["shards"][1:]}, "not numbered from 0"),
        ({"job_digest": 7}, "job_digest: Input should be a valid string"),
    ):
        (plan / "plan.json").write_text(json.dumps(kept | change))
        with pytest.raises(UsageError, match=why):
            metaferry.sync(job, plan=plan)
    (plan / "plan.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be used"):
        metaferry.finish(plan)


def test_rows_that_are_not_the_plans_are_refused(dataset: DemoDataset, tmp_path: Path) -> None:
    job = a_job(dataset)
    plan = Path(a_plan(job, tmp_path))
    [file] = (plan / "shard=000").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(metaferry.StorageError, match="is not the file that plan"):
        metaferry.sync(job, plan=plan, shard_index=0, num_shards=SHARDS)
    assert documents_below(dataset.media) == 0


def test_a_plan_that_a_limit_stopped_is_refused(dataset: DemoDataset, tmp_path: Path) -> None:
    with dataset.images_table.open("a") as table:
        table.write("images/nowhere.png,highway,snowy,night,30,0,true\n")
    job = a_job(dataset, policy={"unmatched": "reject"})
    assert metaferry.plan(job, out=tmp_path / "plan").exit_code == 5
    with pytest.raises(SafetyStop, match="max_rejects is 0"):
        metaferry.sync(job, plan=tmp_path / "plan")
    assert documents_below(dataset.media) == 0


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"num_shards": 2, "shard_index": 2}, "should be 0 to 1"),
        ({"shard_index": 0}, "without --num-shards"),
        ({"num_shards": 2}, "needs --shard-index"),
        ({"num_shards": 2, "shard_index": 0, "plan": None}, "kept plan"),
        ({"limit": 3}, "when a plan is made"),
    ],
)
def test_a_share_that_is_none(dataset: DemoDataset, tmp_path: Path, given: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        metaferry.sync(a_job(dataset), **{"plan": tmp_path / "plan", **given})


def test_the_memory_of_one_process_cannot_be_divided(dataset: DemoDataset, tmp_path: Path) -> None:
    job = a_job(dataset, lightly="memory://divided")
    plan = a_plan(job, tmp_path, shards=2)
    with pytest.raises(UsageError, match="in the memory of one process"):
        metaferry.sync(job, plan=plan, shard_index=0, num_shards=2)
    assert metaferry.sync(job, plan=plan).exit_code == 0


# -- what changed meanwhile


def test_what_changed_since_the_plan_was_made(
    dataset: DemoDataset, clean: dict[str, bytes], tmp_path: Path
) -> None:
    job = a_job(dataset)
    first, second = sorted(key for key in clean if key != SCHEMA)[:2]
    metaferry.sync(job, limit=2)
    table = dataset.images_table
    planned = table.read_text()
    table.write_text(planned.replace("city street", "market"))
    plan = a_plan(job, tmp_path)
    table.write_text(planned)  # the plan is what is applied, not the table
    (dataset.media / first).write_bytes(b"theirs")
    report = metaferry.sync(job, plan=plan)
    assert (report.exit_code, report.findings.get("document.modified_externally")) == (0, 1)
    assert [f.target for f in report.finding_examples if f.code == "document.modified_externally"] == [first]
    assert b"market" in (dataset.media / first).read_bytes()
    assert b"market" in (dataset.media / second).read_bytes()
    assert metaferry.sync(job).documents.update == 4
    assert read_folder(dataset.media) == clean


def test_deletes_wait_for_the_end(dataset: DemoDataset, clean: dict[str, bytes], tmp_path: Path) -> None:
    """The digits of a video's frames change: the old names go only when all new ones stand."""
    job = a_job(dataset)
    metaferry.sync(job)
    stem = next(key for key in clean if "-0-webm.json" in key)
    stale = dataset.media / stem.replace("-0-webm", "-00-webm")
    stale.write_bytes(b"{}")
    (dataset.media / stem).unlink()
    plan = a_plan(job, tmp_path)
    for index in range(2):
        report = metaferry.sync(job, plan=plan, shard_index=index, num_shards=2)
        assert (report.documents.delete, stale.exists()) == (0, True)
    assert (dataset.media / stem).exists()
    report = metaferry.finish(plan)
    assert (report.exit_code, report.documents.create, report.documents.delete) == (0, 1, 1)
    assert read_folder(dataset.media) == clean
    assert metaferry.sync(job).changes == 0


# -- the job that lies in the plan


def test_a_plan_holds_no_secret(dataset: DemoDataset, tmp_path: Path) -> None:
    mapping = job_mapping(dataset, str(dataset.media), {})
    with_variables = mapping | {"storage": {"s3": {"key": "${CANARY_KEY}", "secret": "${CANARY_SECRET}"}}}
    job = job_file(dataset.root, with_variables)
    world = World(tmp_path)
    environment = {"CANARY_KEY": CANARIES[0], "CANARY_SECRET": CANARIES[1]}
    ran = world.run("plan", str(job), "--out", "plan", environment=environment)
    assert ran.code == 0
    everything = b"".join(path.read_bytes() for path in (tmp_path / "plan").rglob("*") if path.is_file())
    assert not [canary for canary in CANARIES if canary.encode() in everything]
    assert b"${CANARY_SECRET}" in everything
    assert world.run("sync", str(job), "--plan", "plan", environment=environment).code == 0
    without = world.run("finish", "plan")
    assert without.code == 2
    assert "the environment variable CANARY_KEY is not set" in without.err
    assert world.run("finish", "plan", environment=environment).code == 0


def test_a_job_with_a_secret_in_it_is_brought_again(dataset: DemoDataset, tmp_path: Path) -> None:
    mapping = job_mapping(dataset, str(dataset.media), {}) | {"storage": {"s3": {"secret": CANARIES[1]}}}
    job = job_file(dataset.root, mapping)
    world = World(tmp_path)
    assert world.run("plan", str(job), "--out", "plan").code == 0
    assert CANARIES[1] not in (tmp_path / "plan/plan.json").read_text()
    ran = world.run("finish", "plan")
    assert ran.code == 2
    assert "its storage.s3.secret may be a secret" in ran.err
    assert CANARIES[1] not in ran.err
    assert "--job JOB" in ran.err
    assert world.run("sync", str(job), "--plan", "plan", "--num-shards", "1", "--shard-index", "0").code == 0
    assert world.run("finish", "plan", "--job", str(job)).code == 0


def test_a_plan_made_again_in_the_same_folder(
    dataset: DemoDataset, clean: dict[str, bytes], tmp_path: Path
) -> None:
    job = a_job(dataset)
    a_plan(job, tmp_path, shards=9)
    metaferry.sync(job, limit=100)
    plan = a_plan(job, tmp_path, shards=2)
    assert sorted(path.name for path in (tmp_path / "plan").glob("shard=*/*")) == ["data_0.parquet"] * 2
    assert metaferry.sync(job, plan=plan).documents.create == len(clean) - 1 - 100
    assert read_folder(dataset.media) == clean


# -- on S3


@pytest.fixture
def store(fresh_datasource: FreshDatasource, portal: Portal, made: Path, request: Any) -> Iterator[Store]:
    url, options = fresh_datasource("s3")
    server = request.getfixturevalue("s3_server")
    with proxy(server.endpoint) as before:
        store = Store("s3", url, options, before, portal, server)
        dataset = make_dataset(made)
        names = [*dataset.images, "videos/rear/2026-05-14_0930.webm"]
        store.put_all({name: (dataset.media / name).read_bytes() for name in names})
        yield store
        store.close()


def s3_job(folder: Path, store: Store, made: Path, **changes: Any) -> Path:
    mapping = job_mapping(make_dataset(made), store.url, {}) | {"media": FEW, "concurrency": 1}
    return job_file(folder, mapping | {"storage": {"s3": store.options}} | changes)


@pytest.mark.servers
@pytest.mark.slow
def test_shares_on_s3_one_of_them_killed(
    store: Store, made: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    job = s3_job(tmp_path, store, made)
    plan = f"{store.url}.plans/1"
    metaferry.plan(job, out=plan, shards=2)
    shares = [("--plan", plan, "--num-shards", "2", "--shard-index", str(n)) for n in range(2)]
    with running(job, *shares[0]) as first:
        rule = AtTheNth("status", "PUT", DOCUMENT)
        rule.nth, rule.act = 5, first.kill
        store.spoil(rule)
        assert first.wait(60) == -signal.SIGKILL
    store.proxy.clear()
    with running(job, *shares[1]) as other, running(job, *shares[0]) as again:
        assert [process.wait(60) for process in (other, again)] == [0, 0]
    assert SCHEMA not in store.documents()
    store.proxy.clear()
    report = metaferry.finish(plan, job=job)
    assert (report.exit_code, report.documents.create) == (0, FEW_DOCUMENTS)
    assert store.documents() == few(clean)
    last = [each.key for each in store.proxy.requests if each.method == "PUT" and "lease" not in each.key]
    assert last[-1].endswith("run.json")
    assert metaferry.sync(job).changes == 0


@pytest.mark.servers
def test_documents_that_fail_hold_the_end_back(
    store: Store, made: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    job = s3_job(tmp_path, store, made, retry_for=0)
    plan = f"{store.url}.plans/1"
    metaferry.plan(job, out=plan, shards=2)
    bad = [key for key in few(clean) if "/berlin/" in key]
    for key in bad:
        store.spoil(Rule("status", "PUT", f"{key}$", status=500, times=9))
    shares = [metaferry.sync(job, plan=plan, shard_index=n, num_shards=2) for n in range(2)]
    assert sum(share.documents.failed for share in shares) == len(bad)
    assert {share.exit_code for share in shares} == {3}
    held = metaferry.finish(plan, job=job)
    assert (held.exit_code, held.documents.failed, held.schema.written) == (3, len(bad), False)
    assert held.stopped.startswith("documents of the shards 0, 1 could not be written")
    assert {f.target for f in held.finding_examples if f.code == "document.failed"} == set(bad)
    assert SCHEMA not in store.documents()
    store.proxy.clear()
    again = [metaferry.sync(job, plan=plan, shard_index=n, num_shards=2) for n in range(2)]
    assert [share.exit_code for share in again] == [0, 0]
    puts = [each.key for each in store.proxy.requests if each.method == "PUT" and "/metadata/" in each.key]
    assert len(puts) == len(bad), "only what had failed is tried again"
    report = metaferry.finish(plan, job=job)
    assert (report.exit_code, report.documents.failed) == (0, 0)
    assert report.documents.create == FEW_DOCUMENTS
    assert store.documents() == few(clean)


@pytest.mark.servers
def test_a_refusal_ends_a_share_and_leaves_no_marker(store: Store, made: Path, tmp_path: Path) -> None:
    job = s3_job(tmp_path, store, made)
    plan = f"{store.url}.plans/1"
    metaferry.plan(job, out=plan, shards=2)
    store.spoil(denied("s3", r"\.lightly/metadata/"))
    with pytest.raises(Denied):
        metaferry.sync(job, plan=plan, shard_index=0, num_shards=1)
    store.proxy.clear()
    with pytest.raises(ShardsMissing) as caught:
        metaferry.finish(plan, job=job)
    assert len(caught.value.shards) >= 1
    assert SCHEMA not in store.documents()


@pytest.mark.servers
def test_a_plan_on_a_server_is_opened_by_a_flag(
    store: Store, made: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    """The plan's own store has to be known before the job in it can be read."""
    endpoint = store.options["endpoint_url"]
    options = {"endpoint_url": "${ENDPOINT}", "key": "${KEY}", "secret": "${SECRET}"}
    job = s3_job(tmp_path, store, made, storage={"s3": options})
    environment = {"ENDPOINT": endpoint, "KEY": store.options["key"], "SECRET": store.options["secret"]}
    plan = f"{store.url}.plans/1"
    world = World(tmp_path)
    assert world.run("plan", str(job), "--out", plan, environment=environment).code == 0
    assert world.run("sync", str(job), "--plan", plan, environment=environment).code == 0
    sets = [f"--set=storage.s3.{key}={value}" for key, value in options.items()]
    ran = world.run("finish", plan, *sets, environment=environment)
    assert (ran.code, store.documents()) == (0, few(clean))
