"""Asks for facts of objects that their listing does not have: one request an object and kind of fact.

User metadata and content types come with one request, tags with another. Requests go in parallel, within the
concurrency limit of the storage, and are retried there. What earlier runs were told of the same version is
not asked again. A store without tags says so once. Facts of an object that is gone by now stay unknown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from metaferry.errors import NotFound, Protected, Unsupported
from metaferry.media.facts.cache import FactsCache
from metaferry.media.facts.model import TEXT, WHOLE, Fact, KeptFacts
from metaferry.media.facts.rows import AT, answer_schema
from metaferry.media.object_facts.listed import pairs_text
from metaferry.storage.facts.model import UNREADABLE_HEADERS
from metaferry.storage.io.concurrent import batched, in_order
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ObjectFactReader, Storage

#: What each of the two requests tells. A number counts changes of what an answer is taken for.
HEADERS: Final = KeptFacts(
    "headers",
    1,
    (
        Fact("content_type", TEXT, "the content type"),
        Fact("storage_class", TEXT, "the storage class, where it is told"),
        Fact("metadata", TEXT, "the user metadata, a JSON object"),
        Fact("unreadable", WHOLE, "pairs that are no text"),
    ),
)
TAGS: Final = KeptFacts("tags", 1, (Fact("tags", TEXT, "the tags, a JSON object"),))

#: Requests that are made before progress is told, for each that may be under way.
_ROUNDS: Final = 4

#: Opens the cache of one kind of facts; None where nothing is kept.
OpenCache = Callable[[KeptFacts], FactsCache | None]
#: Called with the number of objects that were asked about; what it raises ends the work.
Progress = Callable[[int], None]

_Values = Mapping[str, Any]
#: Headers that cannot be read: named in a finding, and not kept, since another `transport` may read them.
_UNREADABLE: Final[_Values] = {
    "content_type": None,
    "storage_class": None,
    "metadata": None,
    "unreadable": 1,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for, where the listing does not have it."""

    headers: bool = False
    tags: bool = False

    def __bool__(self) -> bool:
        return self.headers or self.tags


def ask_facts(
    storage: Storage,
    portal: Portal,
    batches: Iterable[pa.RecordBatch],
    wanted: Wanted,
    *,
    open_cache: OpenCache = lambda kind: None,
    progress: Progress,
) -> Iterator[pa.RecordBatch]:
    """The same batches with what was asked for.

    A batch has `path`, `size`, `token` and the columns of `listed.LISTED`, in the order of paths over all
    batches. Raises StorageError for what concerns all objects, such as a missing right.
    """
    facts = storage.facts
    asking: list[_Asking] = []
    if wanted.headers and facts.can_describe:
        asking.append(_Asking(HEADERS, "metadata", lambda path: _headers(facts, path)))
    if wanted.tags and facts.has_tags:
        asking.append(_Asking(TAGS, "tags", lambda path: _tags(facts, path)))
    for each in asking:
        each.cache = open_cache(each.kind)
    try:
        for batch in batches:
            for each in asking:
                batch = each.filled(batch, portal, max(1, storage.concurrency_limit), progress)
            yield batch
    except BaseException:
        for each in asking:
            if each.cache is not None:
                each.cache.save()
        raise
    for each in asking:
        if each.cache is not None:
            each.cache.complete()


class _Asking:
    """One kind of request. `ask` answers None for an object that tells nothing, and raises `_NothingToAsk`
    where none does."""

    def __init__(
        self, kind: KeptFacts, missing: str, ask: Callable[[str], Awaitable[_Values | None]]
    ) -> None:
        self.kind = kind
        self.cache: FactsCache | None = None
        self._missing = missing
        self._ask = ask
        self._ended = False

    def filled(self, batch: pa.RecordBatch, portal: Portal, most: int, progress: Progress) -> pa.RecordBatch:
        """The batch with what it lacked."""
        lacking = [n for n, value in enumerate(batch.column(self._missing)) if not value.is_valid]
        if self._ended or not lacking:
            return batch
        some = batch.take(pa.array(lacking, pa.int64()))
        versions = pa.RecordBatch.from_pydict(
            {
                "path": some.column("path"),
                "size": some.column("size"),
                # Metadata may be replaced without the content, which keeps its ETag; never without its time.
                "token": [
                    f"{token} {modified}" if token else ""
                    for token, modified in zip(
                        some.column("token").to_pylist(),
                        some.column("modified").cast(pa.int64()).to_pylist(),
                        strict=True,
                    )
                ],
            }
        )
        known = answer_schema(self.kind).empty_table() if self.cache is None else self.cache.find(versions)
        progress(known.num_rows)
        there = set(known.column(AT).to_pylist())
        left = [(n, path) for n, path in enumerate(some.column("path").to_pylist()) if n not in there]
        answers: dict[int, _Values | None] = {}
        try:
            self._answer(left, answers, portal, most, progress)
        finally:  # what was answered before a failure is kept
            if self.cache is not None:
                self.cache.add(_as_table(self.kind, versions, answers), known)
        names = [fact.name for fact in self.kind.facts]
        values_at = {row[AT]: row for row in known.select([AT, *names]).to_pylist()}
        values_at |= {n: values for n, values in answers.items() if values is not None}
        return _merged(batch, names, {lacking[n]: values for n, values in values_at.items()})

    def _answer(
        self,
        left: list[tuple[int, str]],
        answers: dict[int, _Values | None],
        portal: Portal,
        most: int,
        progress: Progress,
    ) -> None:
        """Fills the answers by position, a share of them at a time."""
        for share in batched(left, _ROUNDS * most):
            if self._ended:
                return
            try:
                found = portal.run(in_order(share, lambda item: self._ask(item[1]), most=most))
            except _NothingToAsk:
                self._ended = True
                return
            answers |= {n: values for (n, _), values in zip(share, found, strict=True)}
            progress(len(share))


class _NothingToAsk(Exception):
    """The store has no such facts."""


async def _headers(facts: ObjectFactReader, path: str) -> _Values | None:
    try:
        found = (await facts.describe(path)).facts
    except NotFound as error:
        if not error.path:
            raise
        return None
    except (Protected, Unsupported) as error:  # this object alone
        return _UNREADABLE if error.code == UNREADABLE_HEADERS else None
    return {
        "content_type": found.content_type,
        "storage_class": found.storage_class,
        "metadata": pairs_text(found.metadata),
        "unreadable": found.unreadable,
    }


async def _tags(facts: ObjectFactReader, path: str) -> _Values | None:
    try:
        return {"tags": pairs_text(await facts.tags(path))}
    except NotFound as error:
        if not error.path:
            raise
        return None
    except Unsupported as error:
        if error.status in (400, 405, 409, 501):
            raise _NothingToAsk from None
        return None
    except Protected:
        return None


def _as_table(kind: KeptFacts, versions: pa.RecordBatch, answers: Mapping[int, _Values | None]) -> pa.Table:
    """The answers as the cache takes them; those of a version that nothing names are not kept."""
    tokens = versions.column("token").to_pylist()
    kept = {
        n: values
        for n, values in answers.items()
        if values is not None and values is not _UNREADABLE and tokens[n]
    }
    rows = versions.take(pa.array(list(kept), pa.int64()))
    nothing = [None] * len(kept)
    columns: list[Any] = [list(kept), *rows.columns, nothing, nothing]
    columns += [[values.get(fact.name) for values in kept.values()] for fact in kind.facts]
    schema = answer_schema(kind)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _merged(batch: pa.RecordBatch, names: list[str], values_at: Mapping[int, _Values]) -> pa.RecordBatch:
    """The batch with these values where it has none; counts are added up."""
    for name in names:
        at = batch.schema.get_field_index(name)
        field, values = batch.schema.field(at), batch.column(at).to_pylist()
        for n, row in values_at.items():
            if name == "unreadable":
                values[n] = (values[n] or 0) + (row[name] or 0)
            elif values[n] is None:
                values[n] = row[name]
        batch = batch.set_column(at, field, pa.array(values, field.type))
    return batch
