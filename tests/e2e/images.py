"""A few images on one of the servers in memory, with a table beside the job: what a sync of them does."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

import metaferry
from metaferry.job.model import Job
from metaferry.lightly.names import DOCUMENTS
from metaferry.planning.formats import RunReport
from servers.s3_rules import Fault
from servers.steering import Steered

COUNT: Final = 60
NAMES: Final = [f"shots/{n:03d}.png" for n in range(COUNT)]
WRITES: Final = "PUT|POST"


class Images:
    """Images on one of the servers in memory, with a table beside the job."""

    def __init__(self, kind: str, url: str, options: dict[str, Any], server: Steered, folder: Path) -> None:
        self.kind, self.url, self.options, self.server = kind, url, options, server
        self.bucket, _, self.prefix = url.partition("://")[2].partition("/")
        self.table = folder / "rows.csv"
        self.names = list(NAMES)
        self.value = 1  # of the one key that every document has
        server.seed(self.bucket, [self.prefix + name for name in NAMES])

    def sync(self, **changes: Any) -> RunReport:
        with self.table.open("w") as file:
            csv.writer(file).writerows([("file_name", "n"), *((name, self.value) for name in self.names)])
        return self.sync_of({"table": str(self.table), "file_name": "file_name"}, **changes)

    def sync_of(self, source: dict[str, Any], **changes: Any) -> RunReport:
        storage = {self.url.partition(":")[0]: self.options}
        mapping = {"input": self.url, "storage": storage, "sources": [source], "retry_for": 20, **changes}
        return metaferry.sync(Job.from_mapping(mapping))

    def refuse(self, key: str, status: int, code: str, message: str = "no", method: str = WRITES) -> int:
        return self.server.add(
            Fault("status", method, key, times=10_000, status=status, code=code, message=message)
        )

    def documents(self) -> set[str]:
        found = self.server.objects(self.bucket, self.prefix + DOCUMENTS)
        return {key.removeprefix(self.prefix) for key in found}

    def state(self) -> set[str]:
        """What is in the state folder."""
        prefix = self.prefix + ".metaferry/"
        return {key.removeprefix(prefix) for key in self.server.objects(self.bucket, prefix)}
