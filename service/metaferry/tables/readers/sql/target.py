"""Which driver a URI is for, and how the driver wants it. Pure functions, apart from a look at a SQLite file.

A URI is for the driver alone: what messages may show of it is `Target.shown`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from metaferry.errors import JobError
from metaferry.masking import showable

#: Schemes of URIs, by what reads them: a driver of ADBC by the name of its Python package, or PyMySQL.
_SCHEMES: Final = {
    "postgresql": "adbc_driver_postgresql",
    "postgres": "adbc_driver_postgresql",
    "sqlite": "adbc_driver_sqlite",
    "file": "adbc_driver_sqlite",
    "mysql": "pymysql",
    "mariadb": "pymysql",
    "grpc": "adbc_driver_flightsql",
    "grpc+tcp": "adbc_driver_flightsql",
    "grpc+tls": "adbc_driver_flightsql",
    "snowflake": "adbc_driver_snowflake",
    "bigquery": "adbc_driver_bigquery",
}
#: What libpq is told where a URI does not say otherwise: a dead network is noticed within two minutes.
_POSTGRESQL: Final = {
    "application_name": "metaferry",
    "connect_timeout": "30",
    "keepalives_idle": "60",
    "keepalives_interval": "15",
    "keepalives_count": "4",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A database, and who reads it.

    `driver` is the Python package of a driver, or the name or path of an ADBC driver that its manager finds.
    `uri` and `options` are as the driver wants them, and may hold credentials; `shown` does not.
    """

    kind: Literal["postgresql", "sqlite", "mysql", "adbc"]
    driver: str
    shown: str
    uri: str = field(default="", repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


def target_of(uri: str, driver: str, options: Mapping[str, str], place: str) -> Target:
    """The target of a `sql:`; `driver` is "" where the URI tells it.

    Raises JobError for a URI that no driver is known for, and for a SQLite file that is not there.
    """
    scheme = _scheme(uri)
    name = driver or _SCHEMES.get(scheme, "")
    if not name:
        known = ", ".join(f"{each}://" for each in ("postgresql", "sqlite", "mysql", "snowflake", "grpc+tls"))
        what = f"{scheme}:// is no database that is known" if scheme else "this URI names no database"
        raise JobError(
            what,
            place=f"{place}.uri",
            advice=f"write {known} …, or name an ADBC driver that is installed: driver: adbc_driver_…",
        )
    if name == "pymysql":
        return Target("mysql", name, _shown(uri), uri, options)
    if name.endswith("adbc_driver_sqlite") and uri:
        path = sqlite_path(uri, place)
        return Target("sqlite", name, f"sqlite:///{path}", f"file:{quote(path)}?mode=ro", options)
    if name.endswith("adbc_driver_postgresql"):
        return Target("postgresql", name, _shown(uri), _with_defaults(uri), options)
    return Target("adbc", name, _shown(uri) if uri else name, uri, options)


def sqlite_path(uri: str, place: str) -> str:
    """The file of `sqlite:///relative.db`, `sqlite:////absolute.db` or `file:/absolute.db`."""
    import os

    rest = uri.partition(":")[2].partition("?")[0].partition("#")[0]
    if rest.startswith("//"):
        host, mark, rest = rest[2:].partition("/")
        if host or not mark:
            raise JobError(
                "a SQLite database is a file of this machine",
                place=f"{place}.uri",
                advice="write sqlite:////absolute/path.db, or sqlite:///path.db beside the job file",
            )
        if _scheme(uri) == "file":
            rest = f"/{rest}"
    path = unquote(rest)
    if not os.path.isfile(path):
        what = "is a folder" if os.path.isdir(path) else "is not there"
        raise JobError(
            f"the SQLite file {path} {what}",
            place=f"{place}.uri",
            advice="correct the path; four slashes begin an absolute one: sqlite:////data/labels.db",
        )
    return path


def mysql_arguments(target: Target, place: str) -> dict[str, object]:
    """What `pymysql.connect` is called with: of the URI, then of `db_kwargs`.

    Raises JobError for a part of the query of a URI that has no meaning here.
    """
    parts = urlsplit(target.uri)
    try:
        port = parts.port
    except ValueError:
        raise JobError("the port of this URI is no number", place=f"{place}.uri") from None
    found: dict[str, object] = {
        "host": parts.hostname,
        "port": port,
        "user": unquote(parts.username) if parts.username is not None else None,
        "password": unquote(parts.password) if parts.password is not None else None,
        "database": unquote(parts.path.removeprefix("/")) or None,
    }
    given = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **target.options}
    for key, value in given.items():
        if key not in _MYSQL:
            raise JobError(
                f"{key} is nothing that a connection to MySQL is told here",
                place=f"{place}.uri" if key not in target.options else f"{place}.db_kwargs.{key}",
                advice=f"known are {', '.join(sorted(_MYSQL))}",
            )
        name, kind = _MYSQL[key]
        try:
            found[name] = kind(value)
        except ValueError:
            raise JobError(f"{key} should be a number", place=f"{place}.uri") from None
    return {name: value for name, value in found.items() if value is not None}


def _truth(text: str) -> bool:
    if text.lower() in ("1", "true", "yes"):
        return True
    if text.lower() in ("0", "false", "no"):
        return False
    raise ValueError(text)


#: Parameters of a URI, with the argument of `pymysql.connect` and what it is.
_MYSQL: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    "unix_socket": ("unix_socket", str),
    "connect_timeout": ("connect_timeout", int),
    "read_timeout": ("read_timeout", int),
    "ssl_ca": ("ssl_ca", str),
    "ssl_cert": ("ssl_cert", str),
    "ssl_key": ("ssl_key", str),
    "ssl_key_password": ("ssl_key_password", str),
    "ssl_verify_cert": ("ssl_verify_cert", _truth),
    "ssl_verify_identity": ("ssl_verify_identity", _truth),
    "ssl_disabled": ("ssl_disabled", _truth),
    "server_public_key": ("server_public_key", str),
    "user": ("user", str),
    "password": ("password", str),
    "host": ("host", str),
    "port": ("port", int),
    "database": ("database", str),
}


def _scheme(uri: str) -> str:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", uri)
    return found[1].lower() if found else ""


def _shown(uri: str) -> str:
    """The URI for people: host, port and path."""
    return showable(uri).partition("?")[0]


def _with_defaults(uri: str) -> str:
    """A URI of libpq with what it is told otherwise only where the URI says so."""
    head, mark, query = uri.partition("?")
    if "://" not in head:
        return uri
    given = {key for key, _ in parse_qsl(query, keep_blank_values=True)}
    more = urlencode({key: value for key, value in _POSTGRESQL.items() if key not in given})
    return f"{head}?{query}{'&' if mark and query else ''}{more}"
