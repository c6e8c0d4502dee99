"""A real MariaDB on a port of this machine: Debian's `mariadb-server`, where it is installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.process import free_port, server


@dataclass(frozen=True, slots=True)
class MariaDb:
    """Where it listens. `root` needs no password."""

    port: int

    def execute(self, *statements: str, database: str = "") -> list[tuple[Any, ...]]:
        """Runs the statements as root; the rows of the last one."""
        import pymysql

        rows: list[tuple[Any, ...]] = []
        connection = pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database or None, autocommit=True
        )
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                rows = list(cursor.fetchall())
        return rows

    def new_database(self, *statements: str) -> str:
        """The URI of a new database in which the statements were run."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        if statements:
            self.execute(*statements, database=name)
        return f"mysql://root@127.0.0.1:{self.port}/{name}"


def is_there() -> bool:
    """Whether this machine has the server."""
    return _program() is not None and shutil.which("mariadb-install-db") is not None


def _program() -> str | None:
    return shutil.which("mariadbd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


@contextlib.contextmanager
def mariadb() -> Iterator[MariaDb]:
    """A server without any table until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="mariadb-", dir="/tmp"))  # a short path: a socket's has 107 bytes
    data, port = folder / "data", free_port()
    user = []
    if os.getuid() == 0:
        shutil.chown(folder, "mysql", "mysql")
        user = ["--user=mysql"]
    common = ["--no-defaults", f"--datadir={data}", *user]
    make = ["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
    try:
        subprocess.run([*make, "--skip-name-resolve"], check=True, capture_output=True, cwd=folder)
        command = [
            _program() or "mariadbd",
            *common,
            f"--port={port}",
            "--bind-address=127.0.0.1",
            f"--socket={folder}/socket",
            f"--pid-file={folder}/pid",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=32M",
        ]
        found = MariaDb(port)
        with server(command, ready=lambda: _answers(found), cwd=folder):
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(found: MariaDb) -> bool:
    import pymysql

    with contextlib.suppress(pymysql.Error):
        found.execute("SELECT 1")
        return True
    return False
