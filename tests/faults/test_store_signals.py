"""SIGTERM at random moments on every store, with and without a limit on the rate.

Whatever was under way, the run ends soon, begins no further document, gives its lease back, and says
nothing that it should not; and the next run makes of the tree what a clean run would.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from e2e.world import ENVIRONMENT
from faults.clouds import Cloud, furnish, has_canary
from servers.process import wait_until
from servers.steering import Steered

pytestmark = [pytest.mark.servers, pytest.mark.slow]

SERVERS = {"s3": "fast_s3_server", "gcs": "gcs_server", "azure": "fast_azure_server"}
DOCUMENT = r"^[^?]*\.lightly/metadata/img/"

#: Seconds that a signal may take to be seen on a machine with much to do.
SEEN = 6.0

#: What lets the documents take longer than that by far: 24 are written or deleted.
PACES: Final[dict[str, dict[str, float]]] = {
    "max-rate": {"max_rate": 2},
    "slow-answers": {"concurrency": 2},
}
LATENCY_MS: Final = 1_200


@pytest.fixture(params=SERVERS)
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    server: Steered = request.getfixturevalue(SERVERS[request.param])
    server.reset()
    yield furnish(request.param, server, tmp_path_factory.mktemp(request.param))
    server.reset()


def writes(cloud: Cloud) -> list[float]:
    """When each write of a document reached the server."""
    return [each[0] for each in cloud.server.log("PUT|POST|DELETE", DOCUMENT)]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("pace", PACES)
def test_a_run_that_is_told_to_end(cloud: Cloud, pace: str, seed: int) -> None:
    policy = {"delete": "orphans", "max_delete": "100%"}
    cloud.world.job = cloud.job(policy=policy, **PACES[pace])
    cloud.world.write_job()
    cloud.server.clear()
    when = _instant(cloud, pace, random.Random(f"{cloud.kind} {pace} {seed}"))
    process = subprocess.Popen(
        [sys.executable, "-m", "metaferry", "sync", "job.yaml"],
        cwd=cloud.world.root,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(when, process)
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=90)
    finally:
        process.kill()
        process.wait()
    said = out + err
    assert process.returncode in (143, 0), said  # it may have been about to end
    assert "Traceback" not in said
    assert "leaked" not in said
    assert [each for each in writes(cloud) if each > told + SEEN] == []
    assert has_canary(said + cloud.everything_kept()) == []
    assert not [key for key in cloud.objects("data/.") if key.endswith("lease.json")]
    cloud.server.reset()
    assert cloud.sync("--format", "json", policy=policy).code == 0
    tree = cloud.objects()
    assert len(tree) == 44 + 1
    cloud.server.clear()
    last = cloud.sync("--format", "json", policy=policy)
    assert last.code == 0, last.err
    assert writes(cloud) == []
    assert cloud.objects() == tree


def _instant(cloud: Cloud, pace: str, dice: random.Random) -> Callable[[], bool]:
    """When so many requests were made, or so many documents were written."""
    if dice.random() < 0.3:
        number = dice.randrange(1, 12)
        return lambda: len(cloud.server.log(key=cloud.bucket)) >= number
    number = dice.randrange(1, 7)
    slow = False

    def now() -> bool:
        nonlocal slow
        written = len(writes(cloud))
        if written and not slow and pace == "slow-answers":
            cloud.server.set(latency_ms=LATENCY_MS)
            slow = True
        return written >= number

    return now
