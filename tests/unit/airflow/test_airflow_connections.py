"""Airflow's connections as fsspec options: exactly, or an error that names the field and no value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from metaferry.airflow.connections import storage_options
from metaferry.airflow.roles import ROLE
from metaferry.errors import UsageError

CANARY = "canary-of-a-connection"


@dataclass
class Connection:
    """What of Airflow's is read."""

    conn_type: str
    login: str | None = None
    password: str | None = None
    host: str | None = None
    extra_dejson: dict[str, Any] = field(default_factory=dict)
    conn_id: str = "fleet"


def aws(login: str | None = None, password: str | None = None, **extra: Any) -> Connection:
    return Connection("aws", login, password, extra_dejson=extra)


def google(**extra: Any) -> Connection:
    return Connection("google_cloud_platform", extra_dejson=extra)


def azure(
    login: str | None = None, password: str | None = None, host: str | None = None, **extra: Any
) -> Connection:
    return Connection("wasb", login, password, host, extra_dejson=extra)


SERVICE = {"s3": {"endpoint_url": "http://e"}}

TRANSLATED: list[tuple[str, Connection, dict[str, Any]]] = [
    ("s3", aws(), {}),
    ("s3", aws("k", "s"), {"key": "k", "secret": "s"}),
    ("s3", aws(aws_access_key_id="k", aws_secret_access_key="s"), {"key": "k", "secret": "s"}),
    ("s3", aws("k", "s", aws_session_token="t"), {"key": "k", "secret": "s", "token": "t"}),
    ("s3", aws(profile_name="p"), {"profile": "p"}),
    ("s3", aws(endpoint_url="http://e"), {"endpoint_url": "http://e"}),
    ("s3", aws(service_config=SERVICE), {"endpoint_url": "http://e"}),
    ("s3", aws(region_name="eu-west-1"), {"client_kwargs": {"region_name": "eu-west-1"}}),
    ("s3", aws(verify=False), {"client_kwargs": {"verify": False}}),
    ("s3", aws(config_kwargs={"s3": {"a": 1}}), {"config_kwargs": {"s3": {"a": 1}}}),
    ("s3", aws(config_kwargs='{"s3": {"a": 1}}'), {"config_kwargs": {"s3": {"a": 1}}}),
    ("s3", aws(role_arn="", session_kwargs={}), {}),
    (
        "s3",
        aws("k", "s", role_arn="arn:1", external_id="x", region_name="eu-west-1"),
        {
            "key": "k",
            "secret": "s",
            "client_kwargs": {"region_name": "eu-west-1"},
            ROLE: {"RoleSessionName": "Airflow_fleet", "ExternalId": "x", "RoleArn": "arn:1"},
        },
    ),
    (
        "s3",
        aws(
            role_arn="arn:1",
            assume_role_method="assume_role",
            assume_role_kwargs={"DurationSeconds": 900, "RoleSessionName": "n"},
            service_config={"sts": {"endpoint_url": "http://sts"}},
        ),
        {
            ROLE: {
                "RoleSessionName": "n",
                "DurationSeconds": 900,
                "RoleArn": "arn:1",
                "endpoint_url": "http://sts",
            }
        },
    ),
    (
        "gs",
        google(impersonation_chain="a@x, b@x"),
        {"token": "google_default", ROLE: {"chain": ["a@x", "b@x"]}},
    ),
    ("gs", google(impersonation_chain=["a@x"]), {"token": "google_default", ROLE: {"chain": ["a@x"]}}),
    (
        "az",
        azure("acc", managed_identity_client_id="id", workload_identity_tenant_id="t"),
        {
            "account_name": "acc",
            "anon": False,
            "managed_identity_client_id": "id",
            "workload_identity_tenant_id": "t",
        },
    ),
    ("gs", google(), {"token": "google_default"}),
    ("gs", google(project="p", num_retries=5), {"project": "p", "token": "google_default"}),
    ("gs", google(keyfile_dict={"type": "x"}), {"token": {"type": "x"}}),
    ("gs", google(keyfile_dict='{"type": "x"}'), {"token": {"type": "x"}}),
    ("gs", google(key_path="/k.json"), {"token": "/k.json"}),
    ("gs", google(extra__google_cloud_platform__key_path="/k.json"), {"token": "/k.json"}),
    ("gs", google(is_anonymous=True), {"token": "anon"}),
    ("az", azure("acc", "key"), {"account_name": "acc", "account_key": "key"}),
    ("az", azure("acc"), {"account_name": "acc", "anon": False}),
    ("az", azure(connection_string="c"), {"connection_string": "c"}),
    ("az", azure("acc", sas_token="sv=1"), {"account_name": "acc", "sas_token": "sv=1"}),
    ("az", azure(host="https://acc.blob.core.windows.net/"), {"account_name": "acc", "anon": False}),
    ("az", azure(host="acc.blob.core.windows.net"), {"account_name": "acc", "anon": False}),
    (
        "az",
        azure("id", "secret", "https://acc.blob.core.windows.net", tenant_id="t"),
        {"account_name": "acc", "tenant_id": "t", "client_id": "id", "client_secret": "secret"},
    ),
]


@pytest.mark.parametrize(("scheme", "connection", "options"), TRANSLATED)
def test_what_fsspec_has_an_equal_for(scheme: str, connection: Connection, options: dict[str, Any]) -> None:
    assert storage_options(connection, scheme) == options


REFUSED: list[tuple[str, Connection, str]] = [
    ("s3", azure("acc", CANARY), "type 'wasb'"),
    ("gs", aws("k", CANARY), "type 'aws'"),
    (
        "s3",
        aws("k", CANARY, role_arn=CANARY, assume_role_method="assume_role_with_saml"),
        "assume_role_method",
    ),
    ("s3", aws("k", CANARY, external_id=CANARY), "no 'role_arn'"),
    ("s3", aws(aws_iam_role=CANARY), "aws_iam_role"),
    ("s3", aws("k"), "login and password"),
    ("s3", aws("k", CANARY, config_kwargs=CANARY), "config_kwargs"),
    ("gs", google(impersonation_chain=CANARY, is_anonymous=True), "impersonation_chain"),
    ("gs", google(key_secret_name=CANARY), "key_secret_name"),
    ("gs", google(keyfile_dict={"type": CANARY}, key_path="/k"), "more than one"),
    ("gs", google(keyfile_dict=CANARY), "not JSON"),
    ("az", azure(), "storage account"),
    ("az", azure("acc", sas_token=f"https://a?sig={CANARY}"), "sas_token"),
    ("az", azure("acc", tenant_id="t"), "tenant_id"),
    ("az", azure("acc", CANARY, managed_identity_client_id=CANARY), "managed_identity_client_id"),
    ("az", azure(connection_string="c", sas_token=CANARY), "sas_token"),
]


@pytest.mark.parametrize(("scheme", "connection", "what"), REFUSED)
def test_what_it_has_none_for_is_named(scheme: str, connection: Connection, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        storage_options(connection, scheme)
    assert "fleet" in str(caught.value)
    assert CANARY not in f"{caught.value} {caught.value.advice} {caught.value!r}"
