"""Airflow's connections to databases as URIs: exactly, or an error that names the field and no value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from metaferry.airflow.databases import database_uri
from metaferry.errors import UsageError


@dataclass
class Connection:
    """What of Airflow's is read."""

    conn_type: str
    login: str | None = None
    password: str | None = None
    host: str | None = "db.example"
    port: int | None = None
    schema: str | None = "fleet"
    extra_dejson: dict[str, Any] = field(default_factory=dict)
    conn_id: str = "labels"


@pytest.mark.parametrize(
    ("connection", "uri"),
    [
        (Connection("postgres"), "postgresql://db.example/fleet"),
        (
            Connection("postgres", "ann", "p@ss/w:rd?", port=5433),
            "postgresql://ann:p%40ss%2Fw%3Ard%3F@db.example:5433/fleet",
        ),
        (
            Connection("postgres", "ann", extra_dejson={"sslmode": "require", "cursor": "dictcursor"}),
            "postgresql://ann@db.example/fleet?sslmode=require",
        ),
        (Connection("postgres", host="::1"), "postgresql://[::1]/fleet"),
        (
            Connection("mysql", "ann", "word", extra_dejson={"ssl": '{"ca": "/c a.pem"}', "charset": "utf8"}),
            "mysql://ann:word@db.example/fleet?ssl_ca=%2Fc%20a.pem",
        ),
        (
            Connection("mysql", extra_dejson={"unix_socket": "/s"}),
            "mysql://db.example/fleet?unix_socket=%2Fs",
        ),
        (Connection("sqlite", host="/data/labels.db", schema=None), "sqlite:////data/labels.db"),
    ],
)
def test_a_connection_is_a_uri(connection: Connection, uri: str) -> None:
    assert database_uri(connection) == uri


@pytest.mark.parametrize(
    ("connection", "named"),
    [
        (Connection("postgres", extra_dejson={"iam": "canary-value"}), "'iam'"),
        (Connection("postgres", extra_dejson={"sslmode": {"canary-value": 1}}), "'sslmode'"),
        (Connection("mysql", extra_dejson={"ssl": {"cipher": "canary-value"}}), "'ssl.cipher'"),
        (Connection("mysql", extra_dejson={"ssl": "canary-value"}), "not JSON"),
        (Connection("snowflake", password="canary-value"), "type 'snowflake'"),
    ],
)
def test_a_field_without_an_equivalent_is_named_without_its_value(connection: Connection, named: str) -> None:
    with pytest.raises(UsageError, match=named) as found:
        database_uri(connection)
    assert "canary-value" not in f"{found.value} {found.value.advice}"
