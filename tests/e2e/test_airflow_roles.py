"""Roles, impersonation and managed identities of Airflow's connections, by each cloud's real client.

Over the wire: the token service gets who asks and for whom, and what is used then is that identity's.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

import metaferry
from metaferry.airflow import roles
from metaferry.airflow.connections import storage_options
from metaferry.airflow.roles import ROLE, exchanged
from metaferry.errors import Denied, Expired, Unavailable
from metaferry.secret_files import has_changed, read_again
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from servers.background import http_server
from servers.ministack import S3Server, ministack
from servers.proxy import Rule
from servers.s3 import FastS3

pytestmark = pytest.mark.servers

EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
WITHIN = ["arn:aws:s3:::fleet", "arn:aws:s3:::fleet/*"]


class Connection:
    conn_id = "fleet"
    host = login = password = None

    def __init__(self, conn_type: str, login: str = "", password: str = "", **extra: Any) -> None:
        self.conn_type, self.login, self.password = conn_type, login, password  # type: ignore[assignment]
        self.extra_dejson = extra


# -- AWS


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple[S3Server, dict[str, str]]]:
    """A server that enforces rights, a bucket, a role that may use it, and a user who may only take roles."""
    import botocore.session

    with ministack(auth=True) as server:

        def client(service: str) -> Any:
            return botocore.session.get_session().create_client(
                service,
                endpoint_url=server.endpoint,
                region_name="us-east-1",
                aws_access_key_id=server.key,
                aws_secret_access_key=server.secret,
            )

        def policy(action: str, resource: Any, **more: Any) -> str:
            statement = {"Effect": "Allow", "Action": action, **more}
            statement |= {"Resource": resource} if resource else {}
            return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

        iam, s3 = client("iam"), client("s3")
        s3.create_bucket(Bucket="fleet")
        iam.create_user(UserName="airflow")
        key = iam.create_access_key(UserName="airflow")["AccessKey"]
        iam.put_user_policy(UserName="airflow", PolicyName="p", PolicyDocument=policy("sts:AssumeRole", "*"))
        anybody = policy("sts:AssumeRole", None, Principal={"AWS": "*"})
        role = iam.create_role(RoleName="writer", AssumeRolePolicyDocument=anybody)["Role"]
        iam.put_role_policy(RoleName="writer", PolicyName="p", PolicyDocument=policy("s3:*", WITHIN))
        for each in (iam, s3):
            each.close()
        keys = {"login": key["AccessKeyId"], "password": key["SecretAccessKey"], "role": role["Arn"]}
        yield server, keys


def of_aws(server: S3Server, keys: dict[str, str], **more: Any) -> dict[str, Any]:
    connection = Connection(
        "aws",
        keys["login"],
        keys["password"],
        region_name="us-east-1",
        service_config={
            "s3": {"endpoint_url": server.endpoint},
            "sts": {"endpoint_url": server.endpoint},
        },
        config_kwargs={"s3": {"addressing_style": "path"}},
        **more,
    )
    return storage_options(connection, "s3")


def put(options: dict[str, Any]) -> None:
    with Portal() as portal:
        storage = open_storage("s3://fleet/data", options, retry_for=5.0)
        try:
            portal.run(storage.put("a.json", b"{}"))
        finally:
            portal.run(storage.close())


def test_a_role_is_taken_and_its_rights_are_used(aws: tuple[S3Server, dict[str, str]]) -> None:
    server, keys = aws
    with pytest.raises(Denied):
        put(exchanged(of_aws(server, keys)))  # the user itself may not write
    given = exchanged(
        of_aws(server, keys, role_arn=keys["role"], assume_role_kwargs={"DurationSeconds": 900})
    )
    assert given["key"] != keys["login"]
    assert given["token"]
    put(given)


def test_a_role_that_may_not_be_taken_is_said_without_its_name(aws: tuple[S3Server, dict[str, str]]) -> None:
    server, keys = aws
    wrong = {**keys, "login": "AKIAUNKNOWNUNKNOWN12"}
    with pytest.raises(Denied, match="the role of the connection may not be taken") as caught:
        exchanged(of_aws(server, wrong, role_arn="arn:aws:iam::000000000000:role/canary"))
    assert "canary" not in f"{caught.value} {caught.value.advice}"


def test_a_token_service_that_does_not_answer_may_be_asked_again() -> None:
    nowhere = S3Server("http://127.0.0.1:9")
    keys = {"login": "k", "password": "s"}
    with pytest.raises(Unavailable):
        exchanged(of_aws(nowhere, keys, role_arn="arn:aws:iam::000000000000:role/writer"))


@pytest.fixture
def s3(fast_s3_server: FastS3) -> Iterator[FastS3]:
    yield fast_s3_server
    fast_s3_server.renew()
    fast_s3_server.reset()


@pytest.fixture
def taken(
    aws: tuple[S3Server, dict[str, str]], s3: FastS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[metaferry.Job, list[str]]:
    """A job whose credentials are those of a role, and the access keys that its token service gave."""
    server, keys = aws
    given: list[str] = []
    ask = roles._taken

    def counted(*arguments: Any) -> dict[str, Any]:
        found = ask(*arguments)
        given.append(found["AccessKeyId"])
        return found

    monkeypatch.setattr(roles, "_taken", counted)
    names = [f"{number:03}.png" for number in range(50)]
    bucket = s3.new_bucket()
    s3.seed(bucket, [f"data/{name}" for name in names])
    table = tmp_path / "table.csv"
    table.write_text("file_name,scene\n" + "".join(f"{name},city\n" for name in names))
    plain = {"input": f"s3://{bucket}/data", "sources": [{"table": str(table)}], "retry_for": 0}
    connection = of_aws(server, keys, role_arn=keys["role"])
    options = s3.options | {"key": keys["login"], "secret": keys["password"], ROLE: connection[ROLE]}
    return metaferry.Job.from_mapping(plain).with_storage({"s3": exchanged(options)}), given


@pytest.mark.parametrize("transport", ["auto", "fsspec"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_role_that_expires_during_a_run_is_taken_again(
    taken: tuple[metaferry.Job, list[str]], s3: FastS3, transport: str, workers: int
) -> None:
    job, given = taken
    (first,) = given
    s3.expire(first)
    report = metaferry.sync(job.model_copy(update={"transport": transport, "workers": workers}))
    assert (report.exit_code, report.documents.create) == (0, 50)
    assert given[0] == first
    assert len(set(given)) == 2  # once for all stores of the run; worker processes ask for themselves


def test_puts_in_the_middle_that_are_told_so_are_made_with_new_credentials_each_time(
    taken: tuple[metaferry.Job, list[str]], s3: FastS3
) -> None:
    job, given = taken
    for name in ("metadata/02", "schema"):  # a run of more than two hours
        s3.add(Rule("status", "PUT", name, times=1, status=400, body=EXPIRED))
    report = metaferry.sync(job)
    assert (report.exit_code, report.documents.create, len(given)) == (0, 50, 3)


def test_a_role_that_may_not_be_taken_any_more_ends_the_run_as_expired(
    taken: tuple[metaferry.Job, list[str]], s3: FastS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, given = taken
    s3.expire(*given)

    def refused(*_: Any) -> dict[str, Any]:
        raise Denied("the role of the connection may not be taken: AccessDenied")

    monkeypatch.setattr(roles, "_taken", refused)
    with pytest.raises(Expired, match="the role of the connection may not be taken: AccessDenied") as caught:
        metaferry.sync(job)
    assert given[0] not in str(caught.value)


def test_the_texts_of_a_role_are_plain_to_others_and_travel(aws: tuple[S3Server, dict[str, str]]) -> None:
    server, keys = aws
    options = exchanged(of_aws(server, keys, role_arn=keys["role"]))
    there = pickle.loads(pickle.dumps(options))  # as to a worker process
    assert there == options
    again = read_again(there)
    assert again["key"] != options["key"]
    assert read_again(there)["key"] == again["key"]  # the one who asks next gets what was taken meanwhile
    assert not has_changed(options)  # a refusal for a missing right takes no role
    put(again)
    there["key"]._role._until = datetime(2026, 1, 1, tzinfo=UTC)  # by the time that STS gave
    assert read_again(there)["key"] != again["key"]


# -- Google Cloud


def account(address: str) -> dict[str, str]:
    """The key file of a service account whose token server is at the address."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "tests",
        "client_email": "airflow@tests.example",
        "private_key": key.decode(),
        "token_uri": f"{address}/token",
    }


def test_a_service_account_is_impersonated_by_its_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    from google.auth import iam

    from metaferry.storage.gcs.client import file_system

    asked: list[tuple[str, str, dict[str, Any]]] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return web.json_response({"access_token": "of-the-source", "expires_in": 3600})
        asked.append((request.path, request.headers["Authorization"], await request.json()))
        if "nobody" in request.path:
            return web.json_response({"error": {"code": 403, "message": "canary"}}, status=403)
        return web.json_response({"accessToken": "of-the-target", "expireTime": "2099-01-01T00:00:00Z"})

    with http_server(answer) as address:
        monkeypatch.setattr(iam, "_IAM_ENDPOINT", address + "/v1/{}:generateAccessToken")
        given: dict[str, Any] = {"keyfile_dict": account(address)}
        chain = ["between@x.example", "target@x.example"]
        connection = Connection("google_cloud_platform", impersonation_chain=chain, **given)
        options = exchanged(storage_options(connection, "gs"))
        fs = file_system(pickle.loads(pickle.dumps(options)))  # a worker process gets them so
        assert fs.credentials.credentials.token == "of-the-target"
        ((path, authorization, body),) = asked
        assert (path, authorization) == (
            "/v1/target@x.example:generateAccessToken",
            "Bearer of-the-source",
        )
        assert body["delegates"] == ["projects/-/serviceAccounts/between@x.example"] or body["delegates"] == [
            "between@x.example"
        ]
        nobody = Connection("google_cloud_platform", impersonation_chain="nobody@x.example", **given)
        with pytest.raises(Denied, match="service account of the connection may not be taken") as caught:
            exchanged(storage_options(nobody, "gs"))
        assert "canary" not in str(caught.value)


# -- Azure


def test_a_managed_identity_is_asked_for_by_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    from metaferry.storage.azure.client import file_system

    asked: list[dict[str, list[str]]] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(parse_qs(request.query_string))
        return web.json_response(
            {"access_token": "t", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"}
        )

    with http_server(answer) as address:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{address}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "tests")
        connection = Connection("wasb", "fleet", managed_identity_client_id="the-client")
        fs = file_system(exchanged(storage_options(connection, "az")))
        assert fs.sync_credential.get_token("https://storage.azure.com/.default").token == "t"
    assert [each["client_id"] for each in asked] == [["the-client"]]
