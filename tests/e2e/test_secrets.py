"""No secret that metaferry is given leaves it, but to whom it is for.

Every place that can hold one holds a canary. Stores that refuse quote all they were sent, as the worst
of them do. Then everything that was said is looked through: both streams, the state folder, the plan,
what a gateway got, what `serve` answers; and an exception that nobody expected brings them all.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aiohttp import web

import metaferry
from e2e.serving import get, serving
from e2e.world import World
from metaferry.cli.serve.child import RunRequest
from metaferry.demo import make_dataset
from metaferry.masking import mask, mask_foreign, remember, remember_environment, remember_url
from metaferry.runs import run as runs
from servers.background import http_server
from servers.collectors import gateway
from servers.s3 import FastS3

#: Every secret holds this word, or the same in base64 (at any of its three beginnings).
CANARY = "c4n4ry7b1rd0"
SHAPES = (CANARY, *(base64.b64encode((" " * n + CANARY).encode()).decode()[4:-4] for n in range(3)))
KEY = base64.b64encode(f"{CANARY}-account-key".encode()).decode()


def has_canary(text: str) -> list[str]:
    """The lines that hold one."""
    return [line[:300] for line in text.splitlines() if any(shape in line for shape in SHAPES)]


def said_by(world: World, *arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """The exit code, and what both streams hold; a traceback is among what is looked at."""
    code, out, err = world.run_roughly(*arguments, environment=environment)
    assert "this is a bug" not in err, err
    return code, out + err


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    dataset = make_dataset(tmp_path_factory.mktemp("demo"))
    return (dataset.media / dataset.images[0]).read_bytes()


@pytest.fixture
def world(tmp_path: Path, picture: bytes) -> World:
    world = World(tmp_path)
    world.put("data/images/a.png", picture)
    world.put("tables/labels.csv", "file_name,scene\nimages/a.png,city\nimages/b.png,road\n")
    world.job = {"input": "data", "sources": [{"table": "tables/labels.csv"}], "retry_for": 0}
    return world


@pytest.fixture(scope="module")
def parrot() -> Iterator[str]:
    """An HTTP server that refuses whatever it is asked, and says all that it was sent."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        said = f"{request.raw_path} {dict(request.headers)} {(await request.read())!r}"
        status = 403 if "garbage" not in request.raw_path else 200
        return web.Response(status=status, text=said, headers={"X-Quoted": request.raw_path})

    with http_server(answer) as url:
        yield url


def places(parrot: str, kind: str, name: str) -> dict[str, Any]:
    """A job's keys for a datasource of one kind behind the parrot, with secrets wherever they may be."""
    host = parrot.removeprefix("http://")
    hidden = f"http://{CANARY}user:{CANARY}pass@{host}"
    if kind == "s3":
        options: dict[str, Any] = {
            "key": f"{CANARY}key",
            "secret": f"{CANARY}secret",
            "token": f"{CANARY}token",
        }
        options["endpoint_url"] = parrot
        return {"lightly": f"s3://{name}/p", "storage": {"s3": options}}
    if kind == "s3-through-a-proxy":
        options = {"key": f"{CANARY}key", "secret": f"{CANARY}secret", "endpoint_url": "http://s3.invalid"}
        options["config_kwargs"] = {"proxies": {"http": hidden}}
        return {"lightly": {"url": f"s3://{name}/p", "options": options}}
    if kind == "gcs":
        return {"lightly": f"gs://{name}/p", "storage": {"gcs": {"token": "anon", "endpoint_url": hidden}}}
    if kind == "azure":
        text = f"DefaultEndpointsProtocol=http;AccountName=acc;AccountKey={KEY};BlobEndpoint={parrot}/acc;"
        return {"lightly": f"az://{name}/p", "storage": {"az": {"connection_string": text}}}
    if kind == "azure-signature":
        options = {"account_name": "acc", "sas_token": f"sv=1&sig={CANARY}", "account_host": host}
        return {"lightly": {"url": f"az://{name}/p", "options": options}}
    assert kind == "http"
    table = f"http://{CANARY}user:{CANARY}pass@{host}/{name}/t.csv?token={CANARY}&X-Amz-Signature={CANARY}"
    return {"sources": [{"table": table}]}


KINDS = ["s3", "s3-through-a-proxy", "gcs", "azure", "azure-signature", "http"]


@pytest.mark.parametrize("kind", KINDS)
def test_stores_that_quote_what_they_were_sent(world: World, parrot: str, kind: str) -> None:
    said = ""
    for name in ("refused", "garbage"):
        keys = places(parrot, kind, name)
        world.job |= keys
        world.write_job()
        for arguments in (
            ("sync", "job.yaml", "-vv"),
            ("plan", "job.yaml", "-vv", "--log-format", "json", "--format", "json"),
            ("unlock", "job.yaml", "-vv"),
        ):
            code, words = said_by(world, *arguments)
            if arguments[0] != "unlock" or kind != "http":
                assert code in (1, 2), (name, arguments, words)
            said += words
    assert has_canary(said) == []
    assert said.count("error") >= 4


def test_frames_of_urls_with_secrets(world: World, parrot: str) -> None:
    host = parrot.removeprefix("http://")
    url = f"http://{CANARY}user:{CANARY}pass@{host}/garbage/v.mp4?sig={CANARY}"
    key = ("--set", f"storage.s3.secret={CANARY}", "--set", f"storage.s3.key={CANARY}")
    there = ("--set", f"storage.s3.endpoint_url={parrot}")
    for arguments in (
        ("frames", url, "-vv"),
        ("frames", url, "--explain", "--format", "json", "-vv", "--log-format", "json"),
        ("frames", "s3://bucket/v.mp4", *key, *there, "-vv"),
        ("frames", "s3://bucket/v.mp4", *key, "--set", f"storage.s4={CANARY}"),
    ):
        code, said = said_by(world, *arguments)
        assert code != 0
        assert has_canary(said) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"storage": {"s3": f"{CANARY}"}},
        {"storage": {"s3": [{"secret": CANARY}]}},
        {"storage": {f"S3 {'x'}": {"secret": CANARY}}},
        {"input": {"url": "s3://b", "secret": CANARY}},
        {"input": {"url": "s3://b", "options": CANARY}},
        {"input": {"url": f"s5://{CANARY}:{CANARY}@b?sig={CANARY}"}},
        {"lightly": {"url": 5, "options": {"secret": CANARY}}},
        {"metrics": {"gateway": f"{CANARY}@h"}},
        {"metrics": {"gateway": [f"http://{CANARY}@h"]}},
        {"metrics": {"job": {"gateway": f"http://{CANARY}@h"}}},
        {"concurrency": f"https://u:{CANARY}@host"},
        {"sources": [{"table": {"url": f"ftp://u:{CANARY}@127.0.0.1:1/t.csv", "options": {"x": CANARY}}}]},
        {"sources": [{"table": f"https://u:{CANARY}@127.0.0.1:1/*.xlsx?sig={CANARY}"}]},
        {"lightly": {"url": "memory://x", "options": {"secret": CANARY}}},
        {"lightly": {"url": "s3://b", "options": {"sekret": CANARY, "key": CANARY}}},
        {"metrics": {"gateway": f"http://u:{CANARY}/{CANARY}@127.0.0.1:1"}},
        {"metrics": {"gateway": f"http://u:12/{CANARY}@127.0.0.1:1"}, "input": "nowhere"},
        {"sources": [{"table": f"http://u:{CANARY}/{CANARY}@127.0.0.1:1/t.csv"}]},
        {"sources": [{"table": f"http://u:12/{CANARY}@127.0.0.1:1/t.csv"}]},
        {"sources": [{"table": f"http:/u:{CANARY}/{CANARY}@127.0.0.1:1/t.csv"}]},
        {"sources": [{"table": f"zip://t.csv::http://u:{CANARY}@127.0.0.1:1/t.zip?sig={CANARY}"}]},
        {"sources": [{"table": f"simplecache::http://u:{CANARY}@127.0.0.1:1/t.csv?sig={CANARY}"}]},
        {"schema": f"http://127.0.0.1:1/schema.json?sig={CANARY}/{CANARY}"},
        {"schema": {"entries": f"http://u:{CANARY}@127.0.0.1:1/schema.json?sig={CANARY}"}},
        {"storage": {"s3": {"secret": CANARY}}, "retry_for": CANARY},
        {"storage": {"s3": {"secret": CANARY}}, "policy": {"max_rejects": CANARY, "delete": CANARY}},
        {"storage": {"s3": {"secret": "${SOME_SECRET}"}}, "memory_limit": "${SOME_SECRET}"},
        {"retry_for": "${SOME_SECRET}", "concurrency": "x${SOME_SECRET}", "memory_limit": "${SHORT_SECRET}"},
        {"policy": {"max_delete": "${SOME_SECRET}"}, "metrics": {"timeout": "${SOME_SECRET}"}},
        {"sources": [{"table": "http://127.0.0.1:1/${SOME_SECRET}/t.csv"}]},
        {"sources": [{"table": "zip://t.csv::http://127.0.0.1:1/in/${SOME_SECRET}.zip"}]},
        {"schema": "http://127.0.0.1:1/${SOME_SECRET}/schema.json"},
    ],
    ids=range(32),
)
def test_wrong_jobs(world: World, wrong: dict[str, Any]) -> None:
    world.job |= wrong
    world.write_job()
    for arguments in (("sync", "job.yaml", "-vv"), ("plan", "job.yaml", "-vv", "--log-format", "json")):
        environment = {"AWS_EC2_METADATA_DISABLED": "true", "SOME_SECRET": CANARY, "SHORT_SECRET": "c4n"}
        code, said = said_by(world, *arguments, environment=environment)
        assert code != 0
        assert has_canary(said) == []
        assert "c4n" not in said


def test_a_table_behind_a_path_that_is_a_secret(world: World) -> None:
    """Of a run that writes: its label is in the report, the rejects, the state and the plan."""
    table = b"file_name,scene\nimages/a.png,city\nimages/none.png,road\n"

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=table, headers={"Accept-Ranges": "none"})

    with http_server(answer) as url:
        world.job["sources"] = [{"table": f"{url}/${{SOME_SECRET}}/t.csv"}]
        world.job["policy"] = {"unmatched": "reject", "max_rejects": 1}
        world.write_job()
        environment = {"SOME_SECRET": f"{CANARY}-in-the-path"}
        code, said = said_by(world, "sync", "job.yaml", "-vv", "--format", "json", environment=environment)
    assert code == 3, said
    for path in (world.root / "data").rglob("*"):
        if path.suffix == ".parquet":
            said += repr(pq.read_table(path).to_pylist())
        elif path.is_file():
            said += path.read_bytes().decode("latin-1")
    assert json.loads(said[: said.index("\n}\n") + 2])["sources"][0]["name"].endswith("/***/t.csv"), said
    assert has_canary(said) == []


def test_flags_and_variables(world: World) -> None:
    world.job["storage"] = {"s3": {"secret": "${SOME_SECRET}", "key": "${NOT_THERE}"}}
    world.write_job()
    ran = world.run("plan", "job.yaml", environment={"SOME_SECRET": CANARY})
    assert "NOT_THERE is not set" in ran.err
    for flag in (
        f"storage.s3={CANARY}",
        f"storage.s3.key.more={CANARY}",
        f"input.options={CANARY}",
        f"metrics.gateway={CANARY}",
        f"storage.s3.key: {CANARY}",
        f"storage.s3.key='{CANARY}",
    ):
        more = world.run("plan", "job.yaml", "--set", flag, environment={"SOME_SECRET": CANARY})
        assert more.code == 2
        assert has_canary(more.out + more.err) == [], flag
    assert has_canary(ran.out + ran.err) == []


#: A secret that the job does not hold: what a cloud's own chain of credentials found.
UNKNOWN = "n0b0dy-kn0ws"


class ForeignError(Exception):
    """As a library's: it quotes what it was given."""


def test_an_exception_that_nobody_expected(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cause, a context and a group, all of which quote; the traceback says where, and no more."""

    def gather(*given: Any, **more: Any) -> Any:
        try:
            try:
                raise KeyError(f"{CANARY} {UNKNOWN}")
            except KeyError:
                raise ForeignError(f"signed https://u:{UNKNOWN}@h/?sig={CANARY}")  # noqa: B904
        except ForeignError as error:
            others = [OSError(5, f"{CANARY}", f"/{CANARY}"), ValueError(UNKNOWN)]
            raise ExceptionGroup(f"all of {UNKNOWN}", others) from error

    monkeypatch.setattr(runs, "gather", gather)
    world.job["storage"] = {"s3": {"secret": CANARY}}
    world.write_job()
    for arguments in ((), ("-vv",), ("-vv", "--log-format", "json"), ("-vv", "--format", "json")):
        code, out, err = world.run_roughly("sync", "job.yaml", *arguments)
        assert code == 1
        assert "this is a bug in metaferry: ExceptionGroup" in err
        assert has_canary(out + err) == []
        assert UNKNOWN not in out + err
        if "-vv" in arguments:
            for word in ("ForeignError", "KeyError", "OSError", "ValueError", "in gather", "run.py"):
                assert word in err


def test_what_libraries_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(*given: Any, **more: Any) -> Any:
        log = logging.getLogger("botocore.auth")
        log.debug("Authorization: %s", CANARY)
        log.error("signed with %s for https://x/?X-Amz-Signature=0123abcd&y=1", CANARY)
        log.error("and it failed", exc_info=ForeignError(UNKNOWN))
        raise metaferry.StorageError(f"quoted: {CANARY}", advice=f"not {CANARY}")

    monkeypatch.setattr(runs, "gather", gather)
    world.job["storage"] = {"s3": {"secret": CANARY}}
    world.write_job()
    for arguments in (("-vv",), ("-vv", "--log-format", "json")):
        _, out, err = world.run_roughly("sync", "job.yaml", *arguments)
        assert "signed with *** for https://x/" in err
        assert "0123abcd" not in err
        assert "quoted: ***" in err
        assert "ForeignError" in err
        assert UNKNOWN not in err
        assert has_canary(out + err) == []


def test_foreign_loggers_are_off_below_errors(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever level they set themselves: a library's may hold a token that nobody else knows."""

    def gather(*given: Any, **more: Any) -> Any:
        log = logging.getLogger("azure.identity._internal")
        log.setLevel(logging.DEBUG)
        try:
            log.warning("the answer has no expiry: {'access_token': '%s'}", UNKNOWN)
            log.info("Bearer %s", UNKNOWN)
            log.error("could not: {'access_token': '%s', 'client_secret': '%s'}", UNKNOWN, CANARY)
        finally:
            log.setLevel(logging.NOTSET)
        raise metaferry.StorageError("it ends")

    monkeypatch.setattr(runs, "gather", gather)
    world.write_job()
    environment = {"AZURE_CLIENT_SECRET": f"{CANARY}-of-the-environment"}
    for arguments in ((), ("-vv",), ("-vv", "--log-format", "json"), ("--log-format", "json")):
        _, out, err = world.run_roughly("sync", "job.yaml", *arguments, environment=environment)
        assert "no expiry" not in err
        assert "could not" in err
        assert UNKNOWN not in out + err
        assert has_canary(out + err) == []


def test_what_libraries_log_to_the_handlers_of_a_program(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the library and in Airflow levels and handlers stay as they are; what comes to them is masked."""
    log = logging.getLogger("msal.token_cache")
    monkeypatch.setenv("AZURE_CLIENT_SECRET", f"{CANARY}-of-the-environment")
    seen: list[int] = []

    def gather(*given: Any, **more: Any) -> Any:
        seen.append(log.getEffectiveLevel())
        log.info("posted %r", {"client_secret": f"{CANARY}-of-the-environment", "access_token": UNKNOWN})
        try:
            raise ForeignError(f"refused: {CANARY}-of-the-environment")
        except ForeignError:
            log.exception("it failed")
        raise metaferry.StorageError("it ends")

    monkeypatch.setattr(runs, "gather", gather)
    world.write_job()
    factory = logging.getLogRecordFactory()
    with caplog.at_level(logging.INFO), pytest.raises(metaferry.StorageError):
        metaferry.sync(str(world.root / "job.yaml"))
    assert seen == [logging.INFO]
    assert logging.getLogRecordFactory() is factory
    assert "posted" in caplog.text
    assert "ForeignError: refused: ***" in caplog.text
    assert UNKNOWN not in caplog.text
    assert has_canary(caplog.text) == []
    log.warning("after the run: %s", "as it is")
    assert "as it is" in caplog.text


def test_the_secrets_that_the_environment_holds_for_the_clouds_are_known() -> None:
    remember_environment(
        {
            "AWS_SECRET_ACCESS_KEY": "aws-secret-key-1",
            "AWS_SESSION_TOKEN": "aws-session-tok",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container-token",
            "AZURE_CLIENT_SECRET": "azure-secret-01",
            "AZURE_PASSWORD": "azure-password",
            "AZURE_STORAGE_KEY": "azure-key-00001",
            "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=signature%2Bsas",
            "AZURE_STORAGE_CONNECTION_STRING": "AccountName=acc;AccountKey=connection-key==;X=1",
            "IDENTITY_HEADER": "identity-header",
            "MSI_SECRET": "msi-secret-0001",
            "FSSPEC_S3_SECRET": "fsspec-secret-1",
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=otel-headers-1",
            "https_proxy": "http://me:proxy-password@proxy",
            "AZURE_FEDERATED_TOKEN_FILE": "/var/run/token",
            "AWS_REGION": "eu-central-1-of-nobody",
        }
    )
    secrets = (
        "aws-secret-key-1 aws-session-tok container-token azure-secret-01 azure-password azure-key-00001"
    )
    secrets += (
        " signature%2Bsas connection-key== identity-header msi-secret-0001 fsspec-secret-1 otel-headers-1"
    )
    secrets += " proxy-password"
    assert set(mask(secrets).split()) == {"***"}
    assert mask("/var/run/token eu-central-1-of-nobody") == "/var/run/token eu-central-1-of-nobody"


def test_masks() -> None:
    remember(
        {"secret": "abcdefgh", "short": "abc", "endpoint_url": "http://me:passw%21rd@h", "region": "eu-1"}
    )
    remember({"token": {"client": {"refresh": ["abcdefghij"]}}, "n": 5})
    remember_url("https://h/x?sig=ss%2Bss%3D&v=1")
    assert mask_foreign("abcdefghij abcdefgh abc eu-central-1") == "*** *** abc eu-central-1"
    assert mask_foreign("passw%21rd passw!rd ss+ss= me") == "*** *** *** me"
    # A short one may be a word of ours.
    assert mask("in abcdefgh/") == "in abcdefgh/"
    remember({"secret": "a-real-secret"})
    assert mask("not a-real-secret") == "not ***"
    assert mask_foreign("see s3://u:p@b/k?q=1, or https://h?z") == "see s3://b/k or https://h"


@pytest.mark.servers
def test_runs_that_go_well(world: World, fast_s3_server: FastS3) -> None:
    """Everything that they leave: the plan, state and documents in the bucket, a gateway, serve."""
    bucket = fast_s3_server.new_bucket()
    with gateway() as at:
        world.job["lightly"] = f"s3://{bucket}/fleet"
        options = {"key": f"{CANARY}key", "secret": "${SECRET_OF_THE_STORE}"}
        world.job["storage"] = {"s3": {**fast_s3_server.options, **options}}
        world.job["metrics"] = {"gateway": at.url.replace("//", f"//{CANARY}:{CANARY}@"), "job": "fleet"}
        world.write_job()
        environment = {"SECRET_OF_THE_STORE": f"{CANARY}secret", "OTEL_EXPORTER_OTLP_HEADERS": f"k={CANARY}"}
        said = ""
        for arguments in (
            ("plan", "job.yaml", "--out", "plan", "-vv", "--log-format", "json", "--format", "json"),
            ("sync", "job.yaml", "--plan", "plan", "-vv"),
            ("sync", "job.yaml", "-vv", "--log-format", "json", "--format", "json"),
            ("unlock", "job.yaml", "-vv"),
        ):
            ran = world.run(*arguments, environment=environment)
            assert ran.code == 0, ran
            said += ran.out + ran.err
        fast_s3_server.seed(bucket, [], b"")
        left = {key: data.decode("latin-1") for key, data in fast_s3_server.objects(bucket).items()}
        assert any(key.endswith("run.json") for key in left)
        said += json.dumps(left)
        for path in (world.root / "plan").rglob("*"):
            if path.suffix == ".parquet":
                said += repr(pq.read_table(path).to_pylist())
            elif path.is_file():
                said += path.read_text()
        said += repr(at.groups)
        assert any("Authorization" in headers for _, _, headers in at.asked), "to whom it is for"

        text = (world.root / "job.yaml").read_text().replace("${SECRET_OF_THE_STORE}", f"{CANARY}secret")
        world.put("job.yaml", text)
        with serving(world, "--every", "1d", "-vv", "--format", "json", "--log-format", "json") as it:
            url = it.address()
            line = it.line()
            assert json.loads(line)["exit_code"] == 0
            said += line + get(f"{url}/healthz")[2] + get(f"{url}/metrics")[2]
            assert it.end() == 143
            said += "".join(it.heard)
    assert re.search("metaferry_last_run_documents", said)
    assert has_canary(said) == []


def test_reprs() -> None:
    job = metaferry.Job.from_mapping(
        {
            "input": {"url": f"sftp://me:{CANARY}@h/x", "options": {"password": CANARY}},
            "storage": {"s3": {"secret": CANARY}},
            "sources": [{"table": f"https://h/a.csv?sig={CANARY}"}],
            "schema": f"https://h/schema.json?sig={CANARY}",
            "metrics": {"gateway": f"https://me:{CANARY}@h"},
        }
    )
    order = RunRequest("job.yaml", (f"storage.s3.secret={CANARY}",), False, 0, "text")
    shown = [job, job.input, job.sources, job.metrics, order, job.label, job.digest()]
    assert [each for each in shown if CANARY in repr(each) + str(each)] == []
