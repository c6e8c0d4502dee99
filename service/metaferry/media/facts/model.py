"""The shape of facts: values by name, of one version of one file. Values, and nothing that does I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa

from metaferry.media.frames.containers.reading import Asking

#: A file of a listing: its path below the datasource, its size in bytes, and its token.
Listed: TypeAlias = tuple[str, int, str]

TEXT: Final = pa.string()
WHOLE: Final = pa.int64()
NUMBER: Final = pa.float64()


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact that files of one kind may tell: its name, a type of Arrow, and what it is, in one line."""

    name: str
    type: pa.DataType
    meaning: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a file tells: the facts that are known, by name, and what is damaged in it, a line each."""

    values: Mapping[str, Any]
    problems: tuple[str, ...] = ()


class Unreadable(Exception):
    """Raised where a file tells nothing at all; `str` says why, in one line."""


@dataclass(frozen=True, slots=True)
class KeptFacts:
    """Facts that are kept between runs under one name.

    method: its version, part of the cache's key. Raise it whenever the same bytes may give other facts.
    """

    name: str
    method: int
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class FactsKind(KeptFacts):
    """How facts of one kind of media are read.

    read: of a file of `size` bytes (1 or more): a generator that asks for ranges, as those of
        `frames/containers/reading.py` do, and returns a `Found`. It raises `Unreadable`, and nothing else
        whatever the bytes are; its memory, its bytes and its round trips are bounded.
    """

    name: Literal["image", "video"]
    read: Callable[[int], Asking[Found]]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The facts of one version of a file.

    values: by name, as in `Found`; None where nothing could be read, and `reason` says why.
    problem: what is damaged in a file that could be read; "" where nothing is.
    settled: whether the same bytes would always give this answer, so that it may be kept.
    received: bytes that were read for it.
    """

    path: str
    size: int
    token: str
    values: Mapping[str, Any] | None
    reason: str = ""
    problem: str = ""
    settled: bool = True
    received: int = 0
