"""Airflow's connections to databases as URIs for `sql.uri`. Pure functions.

Airflow's own URIs are for SQLAlchemy and carry extras that no driver here knows. A field without an
equivalent is an error that names it, as of connections to stores. Messages never hold a value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

from metaferry.errors import UsageError


class DatabaseConnection(Protocol):
    """The part of Airflow's `Connection` that is read."""

    conn_id: Any
    conn_type: Any
    host: Any
    port: Any
    schema: Any
    login: Any
    password: Any

    @property
    def extra_dejson(self) -> dict[str, Any]: ...


#: Extras that are parameters of libpq: https://www.postgresql.org/docs/current/libpq-connect.html
_LIBPQ: Final = frozenset(
    {
        "application_name",
        "channel_binding",
        "connect_timeout",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "options",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslpassword",
        "sslrootcert",
        "target_session_attrs",
        "tcp_user_timeout",
    }
)
#: What the form of MySQL has under `ssl`, as parameters of our URIs.
_MYSQL_SSL: Final = {"ca": "ssl_ca", "cert": "ssl_cert", "key": "ssl_key"}
#: Extras that choose a client or its cursor in Airflow, and mean nothing here.
_IGNORED: Final = frozenset({"charset", "client", "cursor", "local_infile", "sqlalchemy_scheme"})


def database_uri(connection: DatabaseConnection) -> str:
    """The URI of a connection of type `postgres`, `mysql` or `sqlite`.

    Raises UsageError for another type, and for an extra that cannot be translated.
    """
    extra = {key: value for key, value in connection.extra_dejson.items() if value not in (None, "", {}, [])}
    kind = connection.conn_type
    if kind == "postgres":
        return _uri("postgresql", connection, _known(connection, extra, _LIBPQ))
    if kind == "mysql":
        return _uri("mysql", connection, _mysql(connection, extra))
    if kind == "sqlite":
        return f"sqlite:///{quote(str(connection.host or connection.schema or ''))}"
    raise UsageError(
        f"connection {connection.conn_id!r} is of type {kind!r}, expected 'postgres', 'mysql' or 'sqlite'",
        advice="of other databases, give sql.driver and sql.db_kwargs in the job, out of variables",
    )


def database_uris(
    names: Mapping[str, str], connection_of: Callable[[str], DatabaseConnection]
) -> dict[str, str]:
    """The URIs by the variables of the job that want them."""
    return {variable: database_uri(connection_of(name)) for variable, name in names.items()}


def _known(connection: DatabaseConnection, extra: Mapping[str, Any], known: frozenset[str]) -> dict[str, str]:
    taken = {key: value for key, value in extra.items() if key not in _IGNORED}
    for key, value in taken.items():
        if key not in known or not isinstance(value, str | int | float):
            raise UsageError(
                f"connection {connection.conn_id!r} has {key!r}, which has no equivalent in a URI",
                advice="remove it from the connection, or give the whole URI by a variable",
            )
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in taken.items()
    }


def _mysql(connection: DatabaseConnection, extra: Mapping[str, Any]) -> dict[str, str]:
    ssl = extra.get("ssl")
    if isinstance(ssl, str):
        try:
            ssl = json.loads(ssl)
        except ValueError:
            raise UsageError(f"connection {connection.conn_id!r} has an 'ssl' that is not JSON") from None
    rest = {key: value for key, value in extra.items() if key != "ssl"}
    found = _known(connection, rest, frozenset({"unix_socket", "connect_timeout", "read_timeout"}))
    for key, value in (ssl or {}).items():
        if key not in _MYSQL_SSL:
            raise UsageError(
                f"connection {connection.conn_id!r} has 'ssl.{key}', which has no equivalent in a URI",
                advice="give ca, cert and key, or the whole URI by a variable",
            )
        found[_MYSQL_SSL[key]] = str(value)
    return found


def _uri(scheme: str, connection: DatabaseConnection, parameters: Mapping[str, str]) -> str:
    user = quote(str(connection.login), safe="") if connection.login else ""
    password = f":{quote(str(connection.password), safe='')}" if connection.password else ""
    host = str(connection.host or "")
    host = f"[{host}]" if ":" in host else host
    port = f":{connection.port}" if connection.port else ""
    at = "@" if user or password else ""
    query = f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""
    return (
        f"{scheme}://{user}{password}{at}{host}{port}/{quote(str(connection.schema or ''), safe='')}{query}"
    )
