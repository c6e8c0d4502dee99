"""The call: a tree is opened, read once, counted, and a selection config judged by it. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from metaferry.job.model import Job
from metaferry.lightly.names import Kind
from metaferry.progress import Progress, Silent
from metaferry.runs.deps import RuntimeDeps
from metaferry.view.export.open import open_values
from metaferry.view.export.values import Values
from metaferry.view.selection.config import Config, read_config
from metaferry.view.selection.facts import gather_facts
from metaferry.view.selection.judge import judge
from metaferry.view.selection.result import Selection
from metaferry.view.tree.frames import count_listed
from metaferry.view.tree.reading import Tree, state_of


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
    yield from tree.database.rows(
        "SELECT media, frames FROM tree_frames WHERE frames IS NOT NULL ORDER BY media"
    )
    tree.database.run(
        "CREATE TABLE selected_videos AS SELECT row_number() OVER (ORDER BY path) AS n, path, size, token "
        f"FROM media WHERE included AND kind = '{Kind.VIDEO}' "
        "AND path NOT IN (SELECT media FROM tree_frames)"
    )
    job, storages = tree.job, tree.storages
    place, state = storages.at(job.input), state_of(job, storages)
    for count in count_listed(tree.database, "selected_videos", place, state, storages.portal, progress):
        if count.frames is not None:
            yield count.path, count.frames
