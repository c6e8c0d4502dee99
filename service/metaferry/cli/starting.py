"""What `init` and `demo` put on disk: a job file, a dataset beside it, and the tree to look at."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from metaferry.cli.show.render import Line
from metaferry.cli.show.text import count, heading, safe
from metaferry.cli.templates import DEMO, INIT
from metaferry.errors import MetaferryError, UsageError

if TYPE_CHECKING:
    from metaferry.demo import DemoDataset

JOB_FILE: Final = "job.yaml"
#: From this many files of one pattern on, only the first and the last are shown.
_SERIES: Final = 3
_DIGIT: Final = re.compile("[0-9]")


def write_job(folder: Path, source: str = "") -> Path:
    """Writes the commented job file into a folder, which is created if needed. Never overwrites a file.

    `source` is where its first source is; it is read, and raises what `first_source.job_text` raises.
    """
    path = folder / JOB_FILE
    text = INIT
    if source and not path.exists():
        from metaferry.cli.first_source import job_text

        text = job_text(source, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        at = path if path.exists() else folder
        raise UsageError(
            f"{at} exists already and is not overwritten", advice="name another folder"
        ) from None
    except OSError as error:
        raise MetaferryError(f"{path} cannot be written: {error.strerror}") from None
    return path


def make_demo(folder: Path, say: Callable[[str], None]) -> tuple[Path, DemoDataset]:
    """The dataset and its job file in a folder. An existing job file is used unchanged."""
    from metaferry.demo import make_dataset

    path = folder / JOB_FILE
    try:
        say(f"making a small dataset in {folder}/ …")
        dataset = make_dataset(folder)
        made = f"{count(len(dataset.images), 'image')}, {count(len(dataset.videos), 'video')}, 3 tables"
        say(f"  {made}" + ("" if dataset.written else " (all there already)"))
        text = DEMO.format(name=path)
        if not path.exists():
            path.write_text(text, encoding="utf-8")
            say(f"  {path}: the job, with comments")
        elif path.read_text(encoding="utf-8") != text:
            say(f"  {path}: edited since, used as it is")
    except OSError as error:
        raise MetaferryError(f"{folder} cannot be written: {error.strerror}") from None
    return path, dataset


def tree_lines(dataset: DemoDataset) -> Iterator[Line]:
    """The datasource as a tree; files whose names differ only in digits share a line."""
    yield heading(f"{dataset.media}/")
    yield from _below(dataset.media, "  ")
    yield ""


def _below(folder: Path, indent: str) -> Iterator[Line]:
    children = sorted(folder.iterdir())
    files = [child.name for child in children if child.is_file()]
    for _, group in itertools.groupby(files, key=lambda name: _DIGIT.sub("0", name)):
        names = [safe(name) for name in group]
        if len(names) < _SERIES:
            yield from (f"{indent}{name}" for name in names)
        else:
            yield f"{indent}{names[0]} … {names[-1]}  ({len(names):,})"
    for child in children:
        if child.is_dir() and child.name != ".metaferry":
            # A folder that holds nothing but one folder shares its line.
            path = child
            while [inner.is_dir() for inner in path.iterdir()] == [True]:
                path = next(path.iterdir())
            yield f"{indent}{safe(path.relative_to(folder).as_posix())}/"
            yield from _below(path, f"{indent}  ")
