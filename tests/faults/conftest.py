"""A furnished site on each kind of disk, and the matrix of faults and stores as a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import connector

from faults.matrix import Furnished, FurnishedStores
from faults.site import Disk, LocalDisk, MemoryDisk
from servers.azure import FastAzure, fast_azure
from servers.certificates import write_certificates

#: The property of a test that has a cell: row, store, policy, exit code, seconds, faults met.
CELL = "cell"


@pytest.fixture(params=["memory", "local"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return MemoryDisk() if request.param == "memory" else LocalDisk(tmp_path)


@pytest.fixture(scope="module")
def secure_azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAzure]:
    """Access tokens are sent over TLS only."""
    folder = write_certificates(tmp_path_factory.mktemp("certificates"))
    # Made when aiohttp was imported: the environment, which the others look at, comes too late for it.
    connector._SSL_CONTEXT_VERIFIED.load_verify_locations(folder / "ca.pem")
    with fast_azure(tls=folder) as server:
        yield server


@pytest.fixture(scope="module")
def furnished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Furnished]:
    return FurnishedStores(request, tmp_path_factory)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store-matrix", action="store_true", help="show the faults by store as a table")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """In Markdown: for each row and store the exit code of the run under the fault, its seconds, and
    FAILED where a check did not hold."""
    if not config.getoption("--store-matrix"):
        return
    rows: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in report.user_properties:
                if name == CELL:
                    row, store, delete, code, seconds, _ = value
                    shown = f"{code} in {seconds:.1f} s" + (" (never)" if delete == "never" else "")
                    rows[row][store].append(shown if outcome == "passed" else f"**FAILED** {shown}")
    stores = ("s3", "gcs", "azure", "azure-identity")
    terminalreporter.write_line(f"\n| fault | {' | '.join(stores)} |")
    terminalreporter.write_line("|---|" + "---|" * len(stores))
    for row, cells in rows.items():
        shown = [", ".join(sorted(cells[store])) or "–" for store in stores]
        terminalreporter.write_line(f"| {row} | {' | '.join(shown)} |")
