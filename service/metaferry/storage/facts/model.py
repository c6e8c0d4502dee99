"""What a store says of one object, and how it is asked. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

Fact = Literal["etag", "content_type", "storage_class", "metadata", "tags"]


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What is known of one object; None is what was not asked, or what the store does not have.

    `etag` is without quotes. `metadata` are the pairs that its owner set, `tags` those of the store's index;
    empty where it is known that there are none. `unreadable` counts pairs that cannot be told as text.
    """

    etag: str | None = None
    content_type: str | None = None
    storage_class: str | None = None
    metadata: Mapping[str, str] | None = None
    tags: Mapping[str, str] | None = None
    unreadable: int = 0


NO_FACTS: Final = ObjectFacts()
#: The code of an error: the library of a store cannot read the headers of an object, whatever is asked of it.
UNREADABLE_HEADERS: Final = "UnreadableHeaders"


class Described(NamedTuple):
    """The facts of one object but its tags, and the version that they are of."""

    token: str
    facts: ObjectFacts


@runtime_checkable
class Describing(Protocol):
    """An adapter that knows facts of objects. Single attempts; raises StorageErrors and nothing else."""

    @property
    def listed_facts(self) -> frozenset[Fact]:
        """What a listing has once `list_facts` was called, but the tags, which are listed where they were
        asked for."""
        ...

    @property
    def has_tags(self) -> bool:
        """Whether there are stores of this kind whose objects have tags."""
        ...

    def list_facts(self, *, tags: bool) -> None:
        """From now on entries of listings are `DescribedEntry`; with tags, where listings of the store can
        have them, which takes a right of its own."""
        ...

    async def describe(self, path: str) -> Described:
        """One request. `NotFound` where there is none."""
        ...

    async def tags(self, path: str) -> Mapping[str, str]:
        """One request. `Unsupported` where the store has no tags."""
        ...
