"""Installs the pinned axe-core below .cache/axe: `python -m browser.setup_axe`, in `tests`.

Does nothing when the installed version is the one of the lock file.
"""

from __future__ import annotations

from pathlib import Path

from servers.setup_azurite import install_locked, is_locked

HERE = Path(__file__).resolve().parent
LOCK = HERE / "axe" / "package-lock.json"
TARGET = HERE.parent.parent / ".cache" / "axe"
SOURCE = TARGET / "node_modules" / "axe-core" / "axe.min.js"


def is_installed() -> bool:
    """Whether exactly what the lock file names is there."""
    return SOURCE.exists() and is_locked(LOCK, TARGET)


if __name__ == "__main__":
    if not is_installed():
        install_locked(LOCK, TARGET)
