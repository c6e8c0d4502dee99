"""The call: a tree is opened, read once, counted, and a selection config judged by it. Writes nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from metaferry.errors import StorageError
from metaferry.job.model import Job
from metaferry.job.parts import STATE
from metaferry.lightly.names import Kind
from metaferry.media.frames.cache import FrameCache
from metaferry.media.frames.counting import count_frames
from metaferry.progress import Progress, Silent
from metaferry.runs.deps import RuntimeDeps
from metaferry.view.export.open import open_values
from metaferry.view.export.values import Values
from metaferry.view.selection.config import Config, read_config
from metaferry.view.selection.facts import gather_facts
from metaferry.view.selection.judge import judge
from metaferry.view.selection.result import Selection
from metaferry.view.tree.reading import Tree

log = logging.getLogger(__name__)

#: Rows of the list of videos in memory at once.
_ROWS = 1_000


class _ReadOnly(FrameCache):
    """The frame counts that runs left, without adding to them."""

    def save(self) -> None:
        """Nothing: who looks at a tree leaves it as it is."""

    def save_if_due(self) -> None:
        """Nothing."""


def preview(
    target: Job | str | PathLike[str],
    config: str | PathLike[str] | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> Selection:
    """What the metadata in place allows of a selection config: a file, or a mapping of the same shape.

    `target` and `overrides` are as of `export`. Every document is read, and the frames of every video are
    counted that no run has counted yet. Raises UsageError for a config that is none, before anything is
    opened; JobError, SchemaError and StorageError.
    """
    read = read_config(config)
    progress = progress or Silent()
    with open_values(target, overrides=overrides, progress=progress, deps=deps) as (tree, values, _):
        return judge_tree(tree, values, read, progress)


def judge_tree(tree: Tree, values: Values, config: Config, progress: Progress) -> Selection:
    """The same of a tree that is open, with its table."""
    entries = tree.entries or ()
    frames = list(_frames(tree, progress))
    progress.phase("Counting values", None)
    facts = gather_facts(tree.database, values, config, frames)
    found = judge(config, entries, facts, url=tree.lightly.url)
    if tree.entries is None:
        found = replace(found, notes=("there is no schema.json, so nothing is shown", *found.notes))
    return found


def _frames(tree: Tree, progress: Progress) -> Iterator[tuple[str, int]]:
    """The videos of a tree whose number of frames is proved, with that number."""
    database, storages, job = tree.database, tree.storages, tree.job
    which = f"FROM media WHERE included AND kind = '{Kind.VIDEO}'"
    total: int = database.value(f"SELECT count(*) {which}")
    if not total:
        return
    progress.phase("Counting frames", total)
    storage = storages.at(job.state) if job.state is not None else tree.lightly
    cache = _ReadOnly(storage, storages.portal, f"{'' if job.state is not None else STATE}frames.parquet")
    try:
        cache.load()
    except StorageError as error:
        log.warning("the frame counts of earlier runs cannot be read, and frames are counted: %s", error)

    def videos() -> Iterator[tuple[str, int, str]]:
        for start in range(0, total, _ROWS):
            yield from database.rows(
                f"SELECT path, size, token {which} ORDER BY path LIMIT {_ROWS} OFFSET {start}"
            )

    counts = count_frames(
        storages.at(job.input),
        storages.portal,
        videos(),
        cache=cache,
        progress=lambda count: progress.advance(1, count.bytes),
    )
    for count in counts:
        if count.frames is not None:
            yield count.path, count.frames
