"""An S3 server of our own, in memory: fast enough not to be the limit, and spoiled at a word.

    python -m servers.s3 [--port 0] [--port-file FILE]

runs it and prints its port. Tests use `fast_s3()`, which starts that as a process of its own and
gives a :class:`FastS3`. What it speaks of S3 is in `s3_api.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.ministack import options_for
from servers.s3_rules import Behaviour, Fault
from servers.steering import Logged, Steered, run, started

__all__ = ["FastS3", "Fault", "Logged", "fast_s3"]


@dataclass(frozen=True, slots=True)
class FastS3(Steered):
    key: str = "metaferry"
    secret: str = "metaferry-secret"

    @property
    def options(self) -> dict[str, Any]:
        return options_for(self.endpoint, self.key, self.secret)


@contextlib.contextmanager
def fast_s3(*, tls: Path | None = None) -> Iterator[FastS3]:
    """The server as a process of its own, until the block ends; `tls` as `started` has it."""
    with started(FastS3, "servers.s3", tls=tls) as running:
        yield running


def _config(behaviour: Behaviour, clock: Any) -> Any:
    from servers.s3_api import Api

    return Api(behaviour, clock.modified)


if __name__ == "__main__":
    run(str(__doc__), _config)
