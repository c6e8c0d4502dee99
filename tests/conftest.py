"""Fixtures that every test module may use: real servers, and new empty datasources on them.

A server is started by the first test that asks for it and ends with the test process; with several
workers each has its own.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource

if TYPE_CHECKING:
    from servers.azure import FastAzure
    from servers.azurite import AzureServer
    from servers.gcs import GcsServer
    from servers.mariadb import MariaDb
    from servers.ministack import S3Server
    from servers.postgres import Postgres
    from servers.s3 import FastS3

# How long one example takes says more about the machine than about the code. `make test` has all examples.
# They are the same on every run, so that a change is judged by what it changes: METAFERRY_EXPLORE=1 looks for
# others.
_DERANDOMIZE = not os.environ.get("METAFERRY_EXPLORE")
settings.register_profile(
    "full", deadline=None, derandomize=_DERANDOMIZE, max_examples=50 if _DERANDOMIZE else 200
)
settings.register_profile("quick", deadline=None, derandomize=_DERANDOMIZE, max_examples=20)
settings.load_profile("full" if os.environ.get("METAFERRY_FULL") else "quick")

# Else each of the many processes that tests start would compile all of the program again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    from servers.ministack import ministack

    with ministack() as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs_server() -> Iterator[S3Server]:
    from servers.seaweedfs import seaweedfs

    with seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def fast_s3_server() -> Iterator[FastS3]:
    """Whoever changes how it behaves puts it back: `FastS3.reset`."""
    from servers.s3 import fast_s3

    with fast_s3() as server:
        yield server


@pytest.fixture(scope="session")
def fast_azure_server() -> Iterator[FastAzure]:
    """Whoever changes how it behaves puts it back: `FastAzure.reset`."""
    from servers.azure import fast_azure

    with fast_azure() as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GcsServer]:
    """Whoever changes how it behaves puts it back: `GcsServer.reset`."""
    from servers.gcs import gcs

    with gcs() as server:
        yield server


def _azurite() -> Iterator[AzureServer]:
    from servers.azurite import azurite
    from servers.setup_azurite import is_installed

    if not is_installed():
        reason = "Azurite is not installed: python tests/servers/setup_azurite.py"
        if os.environ.get("CI") or os.environ.get("METAFERRY_FULL"):
            pytest.fail(reason)
        pytest.skip(reason)
    with azurite() as server:
        yield server


azure_server = pytest.fixture(scope="session", name="azure_server")(_azurite)
#: For tests whose containers have names that are given, as those of a policy are.
own_azure_server = pytest.fixture(scope="module", name="own_azure_server")(_azurite)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    from servers.postgres import postgres

    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDb]:
    from servers.mariadb import is_there, mariadb

    if not is_there():
        pytest.skip("MariaDB is not installed: apt-get install mariadb-server")
    with mariadb() as server:
        yield server


@pytest.fixture
def fresh_datasource(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> FreshDatasource:
    """`fresh_datasource("s3")`; kinds: local, memory, s3, fast_s3, seaweedfs, gcs, azure, fast_azure.

    Servers start on demand.
    The datasource is below a prefix, so whatever forgets the prefix is found out.
    """

    def fresh(kind: str) -> tuple[str, dict[str, Any]]:
        if kind == "local":
            return str(tmp_path_factory.mktemp("datasource")), {}
        if kind == "memory":
            return f"memory://{uuid.uuid4().hex}/data", {}
        if kind in ("s3", "fast_s3", "seaweedfs"):
            s3: S3Server | FastS3 = request.getfixturevalue(f"{kind}_server")
            return f"s3://{s3.new_bucket()}/data/2026/", s3.options
        if kind == "gcs":
            gcs: GcsServer = request.getfixturevalue("gcs_server")
            return f"gs://{gcs.new_bucket()}/data/2026/", gcs.options
        if kind == "azure":
            azure: AzureServer = request.getfixturevalue("azure_server")
            return f"az://{azure.new_container()}/data/2026/", azure.options
        if kind == "fast_azure":
            fast: FastAzure = request.getfixturevalue("fast_azure_server")
            return f"az://{fast.new_bucket()}/data/2026/", fast.options
        raise ValueError(f"no datasource of kind {kind!r}")

    return fresh


@pytest.fixture(scope="session")
def portal() -> Iterator[Portal]:
    """One event loop in a thread for tests that are not asynchronous, which is all of them."""
    with Portal() as portal:
        yield portal
