"""Roles, impersonation and managed identities of Airflow's connections, by each cloud's real client.

Over the wire: the token service gets who asks and for whom, and what is used then is that identity's.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from metaferry.airflow.connections import storage_options
from metaferry.airflow.roles import exchanged
from metaferry.errors import Denied, Unavailable
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from servers.background import http_server
from servers.ministack import S3Server, ministack

pytestmark = pytest.mark.servers

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
