"""docker-compose.yml, run without compose: as much of it as this project's file uses.

Services start in the order of `depends_on`, each with its own command, environment and mounts, under
the same restrictions. Names of services are names of this machine, since all share its network.
Fields that this module does not know are a fault, so that nothing is silently left out.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from image.engine import ROOT, Container, Engine

FILE = ROOT / "docker-compose.yml"

_HANDLED = {"image", "command", "environment", "volumes", "depends_on", "healthcheck", "profiles"}
#: True of every container of `engine.py`, or of no matter in one run.
_IMPLIED = {"read_only", "tmpfs", "cap_drop", "security_opt", "init", "build", "restart", "stop_grace_period"}
_IMPLIED |= {"mem_limit", "pids_limit", "ports"}


def services() -> dict[str, dict[str, Any]]:
    """All services of the file, merge keys resolved."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    for name, service in found.items():
        if unknown := set(service) - _HANDLED - _IMPLIED:
            raise ValueError(f"{name}: compose.py knows no {sorted(unknown)}")
    return found


@dataclass(frozen=True, slots=True)
class Compose:
    """The file's services on an engine. `run` waits for the end, `up` until it is healthy."""

    engine: Engine

    def run(self, name: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Runs a service to its end."""
        command = self.engine.command(self.container(name, *more))
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    @contextlib.contextmanager
    def up(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Runs a service in the background until the block ends; healthy when it begins."""
        from servers.process import server

        container = self.container(name)
        test = services()[name]["healthcheck"]["test"]
        if test[0] != "CMD":
            raise ValueError(f"{name}: a healthcheck is [CMD, …]")

        def healthy() -> bool:
            return self.engine.execute(container.name, test[1:]) == 0

        with server(self.engine.command(container), ready=healthy, deadline=120) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    self.engine.signal(container.name, "TERM")
                    process.wait(60)

    def container(self, name: str, *more: str) -> Container:
        service = services()[name]
        mounts = {}
        for volume in service.get("volumes", ()):
            source, inside, _ = volume.split(":")
            mounts[(ROOT / source).resolve()] = inside
        return Container(
            name=f"metaferry-test-{name}-{os.getpid()}",
            image=service["image"],
            words=[*service.get("command", ()), *more],
            environment=_text(service.get("environment", {})),
            mounts=mounts,
            hosts=sorted(services()),
        )


def _text(environment: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in environment.items()}
