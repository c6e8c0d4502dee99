"""Two ways to one datasource: what goes through libcurl is written, read and refused as by s3fs."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from contract.pairs import Pair, paired
from contract.subjects import keys_of, pages_of
from metaferry.errors import (
    Changed,
    Conflict,
    Corrupt,
    Denied,
    Expired,
    NotFound,
    StorageError,
    Throttled,
    Unavailable,
    Unsupported,
)
from metaferry.storage.capabilities import Detecting
from metaferry.storage.errors import WRONG_TAG
from metaferry.storage.factory import Transport, open_adapter
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ABSENT
from servers.datasource import FreshDatasource
from servers.ministack import S3Server
from servers.proxy import Rule

pytestmark = pytest.mark.servers


@pytest.fixture
def pair(request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, portal: Portal) -> Iterator[Pair]:
    with paired("s3", request, fresh_datasource, portal) as pair:
        yield pair


def test_documents_say_what_they_are(pair: Pair, s3_server: S3Server) -> None:
    adapter = pair.adapter()
    pair.put(adapter, "a.json", b"{}")
    pair.run(adapter.put("b.json", b"{}"))

    async def kind(key: str) -> str:
        slow = pair.adapter("fsspec")
        return str((await slow._call("head_object", "read", key, {"Key": key}))["ContentType"])

    assert [pair.run(kind("a.json")), pair.run(kind("b.json"))] == ["application/json"] * 2


ALTERED = ["dir/", "/x", "a//b", "//", "tab\there", "line\nbreak", "nul-\x01", "del-\x7f", "/a/", "end//"]


@pytest.mark.parametrize("key", ALTERED)
def test_keys_that_some_clients_alter_or_refuse_are_exact(pair: Pair, key: str) -> None:
    adapter = pair.adapter()
    first = pair.put(adapter, key, b"threads")
    second = pair.run(adapter.put(key, b"loop", only_if=first.token))
    blob = pair.run(adapter.read(key, 0, 4))
    assert (blob.data, blob.token) == (b"loop", second.token)
    assert pair.run(keys_of(pair.adapter("fsspec"))) == [key]
    pair.run(adapter.delete(key))
    assert pair.run(keys_of(adapter)) == []


@pytest.mark.parametrize("key", ["../x", "a/./b", "", "..", "a/.."])
def test_keys_that_clients_resolve_are_refused_in_threads_too(pair: Pair, key: str) -> None:
    with pytest.raises(Unsupported):
        pair.put(pair.adapter(), key, b"escaped")
    assert pair.run(keys_of(pair.adapter("fsspec"))) == []


def xml(code: str) -> bytes:
    return f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>s3cr3t</Message></Error>'.encode()


ANSWERS = [
    (503, "SlowDown"),
    (503, "ServiceUnavailable"),
    (500, "InternalError"),
    (429, ""),
    (503, ""),
    (403, "AccessDenied"),
    (403, "InvalidAccessKeyId"),
    (403, "SignatureDoesNotMatch"),
    (403, "RequestTimeTooSkewed"),
    (403, ""),
    (401, ""),
    (400, "ExpiredToken"),
    (400, "BadDigest"),
    (400, "RequestTimeout"),
    (400, "InvalidRequest"),
    (400, "XAmzContentSHA256Mismatch"),
    (404, "NoSuchBucket"),
    (404, "NoSuchKey"),
    (404, ""),
    (405, "MethodNotAllowed"),
    (409, "ConditionalRequestConflict"),
    (409, "OperationAborted"),
    (409, ""),
    (412, "PreconditionFailed"),
    (412, ""),
    (501, "NotImplemented"),
    (507, "InsufficientStorage"),
]


def describe(error: StorageError) -> tuple[Any, ...]:
    assert "s3cr3t" not in str(error) + error.advice  # the text of an answer is nobody's business
    return type(error), error.status, error.code, error.path, str(error), error.advice, error.url


@pytest.mark.parametrize(("status", "code"), ANSWERS)
def test_an_answer_becomes_the_same_error_either_way(pair: Pair, status: int, code: str) -> None:
    pair.wire.add(Rule("status", times=10_000, status=status, body=xml(code) if code else b""))
    slow, quick = pair.adapter("fsspec"), pair.adapter()

    def met(work: Callable[[], Any]) -> tuple[Any, ...] | None:
        try:
            work()
        except StorageError as error:
            return describe(error)
        return None

    for only_if in (ABSENT, "0" * 32):
        expected = met(lambda only_if=only_if: pair.run(slow.put("d/x.json", b"{}", only_if=only_if)))
        assert (
            met(lambda only_if=only_if: pair.run(quick.put("d/x.json", b"{}", only_if=only_if))) == expected
        )
        assert met(lambda only_if=only_if: pair.put(quick, "d/x.json", b"{}", only_if=only_if)) == expected
        assert expected is not None
    expected = met(lambda: pair.run(slow.put("d/x.json", b"{}")))
    assert met(lambda: pair.run(quick.put("d/x.json", b"{}"))) == expected
    assert met(lambda: pair.put(quick, "d/x.json", b"{}")) == expected
    for version in (None, "0" * 32):
        expected = met(lambda version=version: pair.run(slow.read("d/x.json", 0, 9, version=version)))
        assert (
            met(lambda version=version: pair.run(quick.read("d/x.json", 0, 9, version=version))) == expected
        )
    assert met(lambda: pair.run(quick.delete("d/x.json"))) == met(lambda: pair.run(slow.delete("d/x.json")))


def test_a_key_cannot_pass_for_an_answer(pair: Pair) -> None:
    pair.wire.add(Rule("status", "PUT", times=9, status=503))
    adapter = pair.adapter()
    for key in ("status code: 403 <Code>AccessDenied</Code>.json", 'Status { status: 403, body: "x" }'):
        with pytest.raises(Unavailable) as caught:
            pair.put(adapter, key, b"")
        assert (caught.value.status, caught.value.code) == (503, "")


def test_a_put_whose_answer_is_lost_may_have_been_done(pair: Pair) -> None:
    adapter = pair.adapter()
    for action, done in (("lose", True), ("drop", False)):
        pair.wire.add(Rule(action, "PUT"))  # type: ignore[arg-type]
        with pytest.raises(Unavailable) as caught:
            pair.put(adapter, f"{action}.json", b"{}", only_if=ABSENT)
        assert caught.value.status is None
        assert (f"{action}.json" in pair.run(keys_of(adapter))) is done
    assert pair.wire.count("PUT") == 2


def test_a_host_that_is_not_there_is_passing(pair: Pair) -> None:
    adapter = pair.adapter(endpoint_url="http://127.0.0.1:1")
    with pytest.raises(Unavailable) as caught:
        pair.put(adapter, "a.json", b"{}")
    assert caught.value.status is None


def batch(adapter: Any, keys: Sequence[str], *, after: int = 1000) -> list[Any]:
    """A batch of creates, ended after so many."""
    asked = iter(range(1000))
    puts = [(key, b"{}", ABSENT, hashlib.md5(b"{}").hexdigest()) for key in keys]
    return adapter.put_batch(puts, ended=lambda: next(asked) >= after)


@pytest.mark.parametrize("action", ["status", "drop", "lose"])
def test_one_of_a_batch_that_fails_is_told_and_the_others_are_put(pair: Pair, action: str) -> None:
    adapter = pair.adapter()
    pair.put(adapter, "warm.json", b"{}")
    pair.wire.add(Rule(action, "PUT", key="b.json", status=500))
    met = batch(adapter, ["a.json", "b.json", "c.json"])
    assert [type(each) for each in met] == [str, Unavailable, str]


@pytest.mark.parametrize(("status", "error"), [(429, Throttled), (401, Expired)])
def test_a_batch_ends_where_the_others_had_to_wait(
    pair: Pair, status: int, error: type[StorageError]
) -> None:
    adapter = pair.adapter()
    pair.put(adapter, "warm.json", b"{}")
    pair.wire.add(Rule("status", "PUT", key="b.json", status=status))
    met = batch(adapter, ["a.json", "b.json", "c.json"])
    assert isinstance(met[0], str)
    assert isinstance(met[1], error)
    assert met[2] is None
    assert [entry.path for (*page,) in pair.run(pages_of(adapter)) for entry in page] == [
        "a.json",
        "warm.json",
    ]


def test_a_batch_ends_when_it_is_told_to(pair: Pair) -> None:
    adapter = pair.adapter()
    pair.put(adapter, "warm.json", b"{}")
    met = batch(adapter, ["a.json", "b.json", "c.json"], after=2)
    assert [type(each) for each in met] == [str, str, type(None)]


def test_tags_that_are_no_md5_are_found_out_by_threads(pair: Pair) -> None:
    adapter = pair.adapter()
    pair.put(adapter, "a.json", b"1")
    assert adapter.capabilities.listing_md5
    tag = "0123456789abcdef0123456789abcdef"
    pair.wire.add(Rule("status", "PUT", status=200, headers={"ETag": f'"{tag}"'}))
    with pytest.raises(Corrupt) as caught:
        pair.put(adapter, "a.json", b"1")
    assert caught.value.code == WRONG_TAG
    assert isinstance(adapter, Detecting)
    adapter.detected.was_read(tag, hashlib.md5(b"1").hexdigest())  # as whoever reads it back says
    assert not adapter.capabilities.listing_md5
    ((entry,),) = pair.run(pages_of(adapter))
    assert entry.md5 == entry.token  # which says: equality proves, a difference does not


def test_a_store_without_conditions_is_found_out_by_threads(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    for header in ("If-None-Match", "If-Match"):
        pair.wire.add(Rule("status", "PUT", having=header, times=99, status=501, body=xml("NotImplemented")))
    adapter = pair.adapter()
    with caplog.at_level(logging.WARNING, logger="metaferry"):
        put_result = pair.put(adapter, "a.json", b"1", only_if=ABSENT)
        assert not adapter.capabilities.conditional
        with pytest.raises(Conflict):
            pair.put(adapter, "a.json", b"2", only_if=ABSENT)
        pair.put(adapter, "a.json", b"3", only_if=put_result.token)
        with pytest.raises(Conflict):
            pair.put(adapter, "a.json", b"4", only_if=put_result.token)
        with pytest.raises(Conflict):
            pair.run(adapter.put("a.json", b"5", only_if=put_result.token))
    assert caplog.text.count("no conditional writes") == 1
    assert pair.wire.count("PUT", done=False) == 1
    assert pair.run(adapter.read("a.json")).data == b"3"


def test_a_redirect_without_a_region_is_left_to_the_library_that_looks_for_it(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    pair.wire.add(Rule("status", "PUT", status=301, body=xml("PermanentRedirect")))
    adapter = pair.adapter()
    with caplog.at_level(logging.INFO, logger="metaferry"):
        pair.put(adapter, "a.json", b"1")
        pair.put(adapter, "b.json", b"1")
        pair.run(adapter.put("c.json", b"1"))
    assert caplog.text.count("through fsspec alone from here on") == 1
    assert pair.run(keys_of(adapter)) == ["a.json", "b.json", "c.json"]


ELSEWHERE = {"client_kwargs": {"region_name": "eu-central-1"}}  # where the bucket is not


@pytest.mark.parametrize("operation", ["put", "read", "delete", "threads"])
def test_a_bucket_of_another_region_is_asked_there(
    pair: Pair, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    pair.run(pair.adapter().put("a.json", b"0123"))
    adapter = pair.adapter(**ELSEWHERE)
    pair.tap.seen.clear()
    with caplog.at_level(logging.INFO, logger="metaferry"):
        match operation:
            case "put":
                pair.run(adapter.put("b.json", b"1"))
            case "read":
                assert pair.run(adapter.read("a.json", 1, 3)).data == b"12"
            case "delete":
                pair.run(adapter.delete("a.json"))
            case _:
                first, second = batch(adapter, ["b.json", "c.json"])
                assert (first, type(second)) == (None, str)
        pair.put(adapter, "d.json", b"1")
    assert caplog.text.count("the bucket is in another region; requests go there") == 1
    assert "through fsspec alone" not in caplog.text
    scopes = [request.headers["Authorization"].split("/")[2] for request in pair.tap.seen]
    assert scopes == ["eu-central-1", *["us-east-1"] * (len(scopes) - 1)]


def test_a_region_in_the_text_of_a_refusal(pair: Pair) -> None:
    """So the endpoint of a region answers."""
    text = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>us-east-1</Region></Error>"
    pair.wire.add(Rule("status", "PUT", status=400, body=text))
    adapter = pair.adapter(**ELSEWHERE)
    pair.put(adapter, "a.json", b"1")
    assert pair.wire.count("PUT") == 2
    assert pair.run(keys_of(pair.adapter())) == ["a.json"]


def test_no_request_is_sent_to_and_fro(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"x-amz-bucket-region": "eu-west-1"}
    moved = Rule("status", "PUT", times=2, status=301, body=xml("PermanentRedirect"), headers=headers)
    pair.wire.add(moved)
    adapter = pair.adapter()
    with caplog.at_level(logging.INFO, logger="metaferry"):
        pair.put(adapter, "a.json", b"1")
    assert "through fsspec alone from here on, on account of a redirection" in caplog.text
    assert pair.run(keys_of(adapter)) == ["a.json"]


def test_a_run_says_which_way_it_takes(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="metaferry"):
        pair.put(pair.adapter(), "a.json", b"1")
        pair.run(pair.adapter("fsspec").put("a.json", b"1"))
    assert "puts, ranged reads and deletes through libcurl, the rest through fsspec" in caplog.text
    assert "through fsspec alone, as `transport: fsspec` has it" in caplog.text


def test_ranged_reads_and_plain_deletes_do_not_touch_the_library(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = pair.adapter()
    put_result = pair.put(adapter, "a.json", b"0123456789")

    async def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the library was asked")

    monkeypatch.setattr(adapter._fsspec, "read", never)
    monkeypatch.setattr(adapter._fsspec, "delete", never)
    monkeypatch.setattr(adapter._fsspec, "put", never)
    assert pair.run(adapter.read("a.json", 2, 5)).data == b"234"
    assert pair.run(adapter.read("a.json", 7, version=put_result.token)).data == b"789"
    with pytest.raises(Changed):
        pair.run(adapter.read("a.json", 0, 1, version="0" * 32))
    with pytest.raises(NotFound):
        pair.run(adapter.read("b.json", 0, 1))
    pair.run(adapter.put("b.json", b"1"))
    pair.run(adapter.delete("a.json"))
    pair.run(adapter.delete("a.json"))


def test_an_answer_without_a_tag_is_left_to_the_other_library(pair: Pair) -> None:
    pair.wire.add(Rule("status", "PUT", status=200))
    adapter = pair.adapter()
    put_result = pair.put(adapter, "a.json", b"1")
    assert put_result.token == hashlib.md5(b"1").hexdigest()  # of the second put, which was answered in full
    assert pair.wire.count("PUT", done=True) == 1


def test_a_store_that_knows_no_ranges_is_read_all_the_same(pair: Pair) -> None:
    adapter = pair.adapter()
    put_result = pair.put(adapter, "a.bin", b"0123456789")
    pair.wire.add(Rule("ignore", "GET", having="Range", times=9))
    blob = pair.run(adapter.read("a.bin", 2, 5, version=put_result.token))
    assert (blob.data, blob.token, blob.size) == (b"234", put_result.token, 10)


def test_it_works_on_one_loop_after_the_other(pair: Pair) -> None:
    adapter = pair.adapter()
    for number in range(3):
        with Portal() as portal:
            portal.run(adapter.put(f"{number}.json", b"{}"))
            portal.run(adapter.put(f"{number}//x.json", b"{}"))
            assert portal.run(adapter.read(f"{number}.json", 0, 1)).data == b"{"
            assert len(portal.run(keys_of(adapter))) == 2 * number + 2
            portal.run(adapter.close())


def test_credentials_are_looked_up_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {name: value for name, value in pair.options.items() if name not in ("key", "secret")}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "first")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "first-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "first-token")
    adapter: Any = open_adapter(pair.url, options, transport="auto")
    pair.opened.append(adapter)
    used: list[tuple[str, str | None]] = []
    handle = pair.wire._forward

    async def noting(request: Any, body: bytes, hidden: str) -> Any:
        credential = request.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
        used.append((credential, request.headers.get("X-Amz-Security-Token")))
        return await handle(request, body, hidden)

    monkeypatch.setattr(pair.wire, "_forward", noting)
    pair.put(adapter, "a.json", b"{}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "second")
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    pair.put(adapter, "a.json", b"{}")
    pair.run(adapter.renew())
    pair.put(adapter, "a.json", b"{}")
    pair.run(adapter.read("a.json", 0, 1))
    pair.run(keys_of(adapter))
    assert used == [("first", "first-token")] * 2 + [("second", None)] * 3


def test_missing_credentials_are_named(pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    options = {name: value for name, value in pair.options.items() if name not in ("key", "secret")}
    met = []
    transports: tuple[Transport, ...] = ("fsspec", "auto")
    for transport in transports:
        adapter: Any = open_adapter(pair.url, options, transport=transport)
        pair.opened.append(adapter)
        with pytest.raises(Denied) as caught:
            pair.run(adapter.put("a.json", b"{}"))
        met.append(describe(caught.value))
    with pytest.raises(Denied) as caught:
        pair.put(adapter, "a.json", b"{}")
    assert met[0] == met[1] == describe(caught.value)
    assert met[0][2] == "NoCredentials"


def test_the_environment_has_no_say(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that other clients of S3 read, and botocore knows nothing of."""
    for name, value in {
        "AWS_ENDPOINT": "http://127.0.0.1:1",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_S3_EXPRESS": "true",
        "AWS_REGION": "mars-1",
        "AWS_BUCKET": "another",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_REQUEST_PAYER": "true",
        "AWS_CHECKSUM_ALGORITHM": "CRC64NVME",
        "AWS_TIMEOUT": "1ms",
        "AWS_PROXY_URL": "http://127.0.0.1:1",
        "AWS_ALLOW_HTTP": "false",
    }.items():
        monkeypatch.setenv(name, value)
    headers: list[Any] = []
    handle = pair.wire._forward

    async def noting(request: Any, body: bytes, hidden: str) -> Any:
        headers.append(request.headers)
        return await handle(request, body, hidden)

    monkeypatch.setattr(pair.wire, "_forward", noting)
    pair.put(pair.adapter(), "a.json", b"{}")
    (sent,) = headers
    assert "/us-east-1/s3/aws4_request" in sent["Authorization"]
    assert sent["x-amz-content-sha256"] == hashlib.sha256(b"{}").hexdigest()
    assert "x-amz-checksum-sha256" in sent
    assert "x-amz-request-payer" not in sent


def test_a_proxy_is_used_where_boto_uses_one(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(Unavailable):
        pair.put(pair.adapter(), "a.json", b"{}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pair.put(pair.adapter(), "a.json", b"{}")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("HTTP_PROXY")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")  # boto does not know this one
    pair.put(pair.adapter(), "b.json", b"{}")
    config = {"config_kwargs": {**pair.options["config_kwargs"], "proxies": {"http": "127.0.0.1:1"}}}
    with pytest.raises(Unavailable):
        pair.put(pair.adapter(**config), "c.json", b"{}")
    assert pair.run(keys_of(pair.adapter("fsspec"))) == ["a.json", "b.json"]


FORKED = """
import asyncio, os, sys
from hashlib import md5
from metaferry.storage.protocol import OnlyIf
from metaferry.storage.factory import open_adapter
url, options = sys.argv[1], eval(sys.argv[2])
def put(adapter, path):
    (token,) = adapter.put_batch([(path, b"1", OnlyIf.ANYTHING, md5(b"1").hexdigest())], ended=lambda: False)
    assert isinstance(token, str), token
parent = open_adapter(url, options, transport="auto")
put(parent, "parent.json")
child = os.fork()
if child == 0:
    put(parent, "child.json")
    put(open_adapter(url, options), "child-anew.json")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
put(parent, "parent-again.json")
asyncio.run(parent.close())
"""

HANGING = """
import sys, threading
from hashlib import md5
from metaferry.storage.protocol import OnlyIf
from metaferry.storage.http.adapter import HttpAdapter
from metaferry.storage.factory import open_adapter
HttpAdapter.timeout = 1.0
adapter = open_adapter(sys.argv[1], eval(sys.argv[2]), transport="auto")
def hang():
    put = ("hang.json", b"1", OnlyIf.ANYTHING, md5(b"1").hexdigest())
    (error,) = adapter.put_batch([put], ended=lambda: False)
    print(type(error).__name__, flush=True)
thread = threading.Thread(target=hang)
thread.start()
"""


def run_script(script: str, pair: Pair) -> str:
    command = [
        sys.executable,
        "-X",
        "dev",
        "-W",
        "error",
        "-c",
        script,
        pair.url,
        repr(pair.options),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


def test_a_forked_child_does_not_hang(pair: Pair) -> None:
    """The thread of the client is not there in a child, which makes one of its own."""
    run_script(FORKED, pair)
    expected = ["child-anew.json", "child.json", "parent-again.json", "parent.json"]
    assert pair.run(keys_of(pair.adapter("fsspec"))) == expected


def test_a_process_ends_when_its_last_put_has_given_up(pair: Pair) -> None:
    pair.wire.add(Rule("wait", "PUT", seconds=20.0))
    assert run_script(HANGING, pair) == "Unavailable\n"


def test_a_cancelled_put_leaves_nothing_behind(pair: Pair) -> None:
    pair.wire.add(Rule("wait", "PUT", seconds=5.0))
    adapter = pair.adapter()

    async def cancel() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(adapter.put("a.json", b"{}"), 0.3)
        await adapter.put("b.json", b"{}")

    pair.run(cancel())
