"""Which driver a URI is for, what messages may show of it, and what drivers say as errors of ours."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from metaferry.errors import Denied, JobError, MetaferryError, Unavailable
from metaferry.tables.readers.sql.failures import primary, translated
from metaferry.tables.readers.sql.target import Target, mysql_arguments, target_of

PLACE = "tables.labels.sql"


def test_the_uri_tells_the_driver_and_nothing_shown_has_a_password() -> None:
    target = target_of("postgresql://ann:s3cr3t-word@db.example/fleet?sslmode=require", "", {}, PLACE)
    assert (target.kind, target.driver) == ("postgresql", "adbc_driver_postgresql")
    assert target.shown == "postgresql://db.example/fleet"
    assert "s3cr3t-word" not in repr(target)
    given = parse_qs(urlsplit(target.uri).query)
    assert given["sslmode"] == ["require"]
    assert given["application_name"] == ["metaferry"]


def test_what_a_uri_says_of_a_connection_is_not_said_again() -> None:
    target = target_of("postgres:///fleet?connect_timeout=3&application_name=mine", "", {}, PLACE)
    given = parse_qs(urlsplit(target.uri).query)
    assert given["connect_timeout"] == ["3"]
    assert given["application_name"] == ["mine"]


def test_a_driver_that_is_named_goes_over_the_scheme() -> None:
    target = target_of("", "adbc_driver_snowflake", {"adbc.snowflake.sql.account": "a"}, PLACE)
    assert (target.kind, target.shown) == ("adbc", "adbc_driver_snowflake")


def test_a_sqlite_file_is_opened_for_reading_only(tmp_path: Path) -> None:
    path = tmp_path / "with space?.db"
    sqlite3.connect(path).close()
    target = target_of(f"sqlite:///{str(path).replace('?', '%3F')}", "", {}, PLACE)
    assert target.kind == "sqlite"
    assert target.uri.startswith("file:/")
    assert target.uri.endswith("%3F.db?mode=ro")


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("oracle://host/x", "oracle:// is no database that is known"),
        ("fleet", "this URI names no database"),
        ("sqlite:////nowhere/x.db", "the SQLite file /nowhere/x.db is not there"),
        ("sqlite:////tmp", "is a folder"),
        ("sqlite://host/x.db", "a file of this machine"),
    ],
)
def test_a_uri_that_no_driver_can_open_is_a_fault_of_the_job(uri: str, why: str) -> None:
    with pytest.raises(JobError, match=why) as found:
        target_of(uri, "", {}, PLACE)
    assert found.value.place == f"{PLACE}.uri"
    assert found.value.advice


def test_the_parts_of_a_mysql_uri_are_unquoted_and_its_parameters_are_checked() -> None:
    target = target_of(
        "mysql://ann:p%40ss%2Fword@db:3307/fleet?ssl_ca=/ca.pem&ssl_verify_identity=true", "", {}, PLACE
    )
    assert mysql_arguments(target, PLACE) == {
        "host": "db",
        "port": 3307,
        "user": "ann",
        "password": "p@ss/word",
        "database": "fleet",
        "ssl_ca": "/ca.pem",
        "ssl_verify_identity": True,
    }
    unknown = target_of("mariadb://db/fleet?sslmode=require", "", {}, PLACE)
    with pytest.raises(JobError, match="sslmode is nothing that a connection"):
        mysql_arguments(unknown, PLACE)
    with pytest.raises(JobError, match="port of this URI is no number"):
        mysql_arguments(target_of("mysql://db:x/fleet", "", {}, PLACE), PLACE)


def _adbc(text: str, state: str = "", status: str = "IO") -> Exception:
    error = Exception(text)
    error.sqlstate = state or None  # type: ignore[attr-defined]
    error.status_code = SimpleNamespace(name=status)  # type: ignore[attr-defined]
    return error


POSTGRESQL = Target("postgresql", "adbc_driver_postgresql", "postgresql://db/fleet")
FLIGHT = Target("adbc", "adbc_driver_flightsql", "grpc+tls://db")
MYSQL = Target("mysql", "pymysql", "mysql://db/fleet")


@pytest.mark.parametrize(
    ("target", "error", "kind", "place"),
    [
        (POSTGRESQL, _adbc("INVALID_ARGUMENT: … ERROR:  x", "42601", "INVALID_ARGUMENT"), JobError, "query"),
        (POSTGRESQL, _adbc("INVALID_STATE: … ERROR:  x", "25006", "INVALID_STATE"), JobError, "query"),
        (POSTGRESQL, _adbc("IO: … FATAL:  terminating connection", "57P01"), Unavailable, ""),
        (POSTGRESQL, _adbc("IO: … too many clients", "53300"), Unavailable, ""),
        (POSTGRESQL, _adbc("IO: … conflict with recovery", "40001"), Unavailable, ""),
        (POSTGRESQL, _adbc("IO: … permission denied", "42501"), Denied, ""),
        (POSTGRESQL, _adbc("IO: … FATAL:  password authentication failed for user"), Denied, ""),
        (POSTGRESQL, _adbc('IO: … FATAL:  database "x" does not exist'), JobError, "uri"),
        (POSTGRESQL, _adbc("IO: … invalid URI query parameter"), JobError, "uri"),
        (POSTGRESQL, _adbc("IO: … could not translate host name"), Unavailable, ""),
        (POSTGRESQL, _adbc("IO: … server closed the connection unexpectedly"), Unavailable, ""),
        (FLIGHT, _adbc("UNAUTHENTICATED: no", status="UNAUTHENTICATED"), Denied, ""),
        (FLIGHT, _adbc("INVALID_ARGUMENT: no", status="INVALID_ARGUMENT"), JobError, "query"),
        (FLIGHT, _adbc("IO: unavailable"), Unavailable, ""),
        (FLIGHT, _adbc("INTERNAL: [Driver Manager] Could not load `x`"), JobError, "driver"),
        (MYSQL, Exception(1045, "Access denied for user 'x'@'y' (using password: YES)"), Denied, ""),
        (MYSQL, Exception(1049, "Unknown database 'x'"), JobError, "uri"),
        (MYSQL, Exception(1064, "You have an error"), JobError, "query"),
        (MYSQL, Exception(1792, "READ ONLY transaction"), JobError, "query"),
        (MYSQL, Exception(2013, "Lost connection"), Unavailable, ""),
        (MYSQL, OSError("broken pipe"), Unavailable, ""),
    ],
)
def test_a_code_or_the_words_of_a_driver_decide_what_an_error_is(
    target: Target, error: Exception, kind: type[MetaferryError], place: str
) -> None:
    found = translated(error, target, PLACE)
    assert type(found) is kind
    assert found.advice
    assert getattr(found, "place", "") == (f"{PLACE}.{place}" if place else "")


def test_the_line_of_a_query_and_the_hint_of_the_server_are_told() -> None:
    text = (
        'NOT_FOUND: Failed to prepare query: ERROR:  column "bb" does not exist\nLINE 3:  bb from t\n'
        '         ^\nHINT:  Perhaps you meant to reference the column "t.b".\n\nQuery was: select\n a,\n bb'
    )
    found = translated(_adbc(text, "42703", "NOT_FOUND"), POSTGRESQL, PLACE)
    assert found.message == (
        f'{PLACE}.query: postgresql://db/fleet: column "bb" does not exist (line 3 of the query)'
    )
    assert found.advice == 'Perhaps you meant to reference the column "t.b".'


def test_no_message_of_a_driver_shows_a_uri_with_its_password() -> None:
    text = (
        "IO: [libpq] Failed to connect: cannot parse postgresql://ann:s3cr3t-word@db/fleet?password=hidden-1"
    )
    assert "s3cr3t-word" not in primary(text)
    assert "hidden-1" not in primary(text)
