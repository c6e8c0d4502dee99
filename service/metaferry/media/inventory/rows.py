"""The objects of a bucket from an inventory report, in place of a listing of the bucket.

Amazon S3 Inventory, Google's inventory reports and Azure's blob inventory. The bucket itself is not
listed, so an object of the report may be gone by now.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import repeat
from pathlib import Path

from metaferry.errors import JobError
from metaferry.masking import showable
from metaferry.media.inventory.columns import USED, WITH_FACTS, current_objects
from metaferry.media.inventory.data_files import read_rows
from metaferry.media.inventory.report import Inventory
from metaferry.storage.facts.model import NO_FACTS
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import DescribedEntry, Entry
from metaferry.urls import bucket_and_key


def inventory_pages(
    inventory: Inventory,
    source: str,
    prefix: str,
    *,
    scratch: Path,
    portal: Portal,
    with_facts: bool = False,
) -> Generator[list[Entry], None, None]:
    """The objects of the datasource `source` (a URL) below `prefix`, in no order, some thousand at once.

    Size and token are those of the report: `UNKNOWN` and "" where it has none. `with_facts`: so is what else
    it says of an object. Raises JobError where
    the report is of another bucket, lacks what is needed, or is not whole; `ScratchFull`.
    """
    where = bucket_and_key(source)
    if where is None:
        raise JobError(
            f"{showable(source)} is no bucket, and {inventory.url} is the inventory of one",
            place=inventory.place,
            advice="leave media.inventory out: the folder is listed",
        )
    _, bucket, below = where
    manifest = inventory.manifest
    if manifest.bucket is not None and manifest.bucket != bucket:
        raise JobError(
            f"{inventory.url} is the inventory of {manifest.bucket}, and input is in {bucket}",
            place=inventory.place,
        )
    below = below.rstrip("/") + "/" if below.strip("/") else ""
    rows = ours = 0
    wanted = below + prefix
    for batch in read_rows(inventory, scratch, portal, WITH_FACTS if with_facts else USED):
        rows += batch.num_rows
        names, sizes, tokens, *more = current_objects(batch, inventory, bucket, facts=with_facts)
        ours += len(names)
        times, facts = more or (repeat(0.0), repeat(NO_FACTS))
        found = [
            (Entry(name[len(below) :], size, token, None, time), each)
            for name, size, token, time, each in zip(names, sizes, tokens, times, facts, strict=False)
            if name.startswith(wanted) and not name.endswith("/")
        ]
        page = [DescribedEntry.of(*each) if with_facts else each[0] for each in found]
        if page:
            yield page
    if manifest.records is not None and rows < manifest.records:
        raise JobError(
            f"{inventory.url} counts {manifest.records:,} objects, and its files hold {rows:,}",
            place=inventory.place,
            advice="the report is not whole: name another one",
        )
    if rows and not ours:
        raise JobError(
            f"{inventory.url} holds no object of {bucket}",
            place=inventory.place,
            advice="name the inventory of the bucket that `input` is in",
        )
