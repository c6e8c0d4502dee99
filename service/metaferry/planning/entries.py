"""Schema entries of a run, from the schema.json in place, the job, and the data.

The rules (which type, which default, what stays in place) are in `lightly/schema.py`; this module applies
them to the loaded tables and the schema.json in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from metaferry.errors import JobError
from metaferry.job.model import Job
from metaferry.job.parts import Infer, SchemaEntry
from metaferry.lightly import schema as rules
from metaferry.lightly.schema import Entry, Observed, ValueType
from metaferry.planning.database import Database
from metaferry.planning.formats import SchemaEdit
from metaferry.planning.sql import rules as sql
from metaferry.planning.types.sticky import Inferred, widened
from metaferry.planning.types.text_numbers import report_text_numbers
from metaferry.planning.uncovered import report_uncovered
from metaferry.tables.model import Loaded

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of this run, and whether schema.json has to be written for them."""

    entries: tuple[Entry, ...]
    added: tuple[str, ...]
    changed: bool
    edits: tuple[tuple[Entry, Entry], ...] = ()  # entries in place and what they become
    removed: tuple[Entry, ...] = ()
    new_types: tuple[Entry, ...] = ()  # entries whose type documents in place may not fit

    def type_of(self, path: KeyPath) -> ValueType | None:
        """The type that the entry of a key path demands; None where no entry has that path."""
        dotted = ".".join(path)
        return next((entry.type for entry in self.entries if entry.path == dotted), None)

    def schema_edits(self) -> tuple[SchemaEdit, ...]:
        """The entries that change, for the report."""
        return tuple(SchemaEdit(new.path, old.to_json(), new.to_json()) for old, new in self.edits)

    def below(self, path: KeyPath) -> dict[KeyPath, ValueType]:
        """The types of the entries that point into the value of a key path, by the steps below it."""
        return {
            steps[len(path) :]: entry.type
            for entry, steps in self._split(path[0])
            if len(steps) > len(path) and steps[: len(path)] == path
        }

    def above(self, path: KeyPath) -> Entry | None:
        """The entry that reads what a key path is only a part of, if any."""
        return next(
            (
                entry
                for entry, steps in self._split(path[0])
                if len(steps) < len(path) and path[: len(steps)] == steps
            ),
            None,
        )

    def _split(self, first: str) -> Iterator[tuple[Entry, KeyPath]]:
        """The entries whose paths begin with that step (and, at most, some that do not)."""
        for entry in self.entries:
            if entry.path.startswith(first):
                yield entry, rules.split_path(entry.path)


def resolve_entries(
    database: Database,
    job: Job,
    sources: Sequence[Loaded],
    *,
    in_place: tuple[Entry, ...] | None,
    given: tuple[Entry, ...] | None,
    inferred: Inferred = dict,
) -> Entries:
    """The entries by the job's `schema`: inferred over what is in place, or as they are given.

    `in_place` are those of the schema.json that is there (None: there is none), `given` those of
    the file that the job names, or of its list; `inferred` tells those that earlier runs inferred.
    Raises JobError where two sources disagree on what a key is, so that no type would be right.
    """
    if given is not None:
        combined = combined_entries(job, in_place or (), given)
        report_uncovered(database, sources, combined.entries)
        retyped = {new.path for old, new in combined.changed if new.type is not old.type}
        return Entries(
            combined.entries,
            combined.added,
            changed=in_place is None or combined.entries != in_place,
            edits=combined.changed,
            removed=combined.removed,
            new_types=tuple(e for e in combined.entries if e.path in {*retyped, *combined.added}),
        )
    infer = job.schema_ if isinstance(job.schema_, Infer) else Infer()
    widenings = widened(database, sources, in_place or (), inferred) if infer.widen else ()
    becomes = {old.path: new for old, new in widenings}
    existing = tuple(becomes.get(entry.path, entry) for entry in in_place or ())
    observed = _observe(database, sources, infer, {entry.path for entry in existing})
    merged = rules.merge(existing, observed)
    report_text_numbers(
        database,
        sources,
        (path for path in merged.added if rules.is_text(observed[path])),
        mapped=[source.metadata is not None for source in job.sources],
    )
    report_uncovered(database, sources, merged.entries)
    # An empty list is not written over nothing: a consumer without schema.json has no entries either.
    return Entries(
        merged.entries,
        merged.added,
        changed=not merged.unchanged or bool(widenings),
        edits=widenings,
        new_types=tuple(becomes.values()),
    )


def combined_entries(job: Job, in_place: Sequence[Entry], given: Sequence[Entry]) -> rules.Combined:
    """What the entries that the job gives make of those in place. JobError where both cannot be."""
    schema = job.given_schema
    combined = rules.combine(in_place, given, exact=schema is not None and schema.exact)
    if combined.clash:
        raise JobError(
            combined.clash,
            place="schema",
            advice="give the entry another name or path; "
            "schema: {entries: […], exact: true} removes the entries that it does not name",
        )
    return combined


def given_entries(job: Job) -> tuple[Entry, ...] | None:
    """The entries that the job file spells out; None where it names a file or infers."""
    given = job.given_schema
    if given is None or isinstance(given.entries, str):
        return None
    return rules.check_entries([_plain(entry) for entry in given.entries], where="schema")


def _plain(entry: SchemaEntry) -> dict[str, object]:
    return entry.model_dump(by_alias=True)


def _observe(
    database: Database, sources: Sequence[Loaded], infer: Infer, known: set[str]
) -> Mapping[str, ValueType]:
    """Type by dotted key path, for keys without an entry that hold at least one value."""
    seen: dict[KeyPath, list[tuple[Observed, Loaded, str]]] = {}
    for source in sources:
        wanted = [key for key in source.keys if ".".join(key.path) not in known]
        if not wanted:
            continue
        counts = ", ".join(f"count({sql.quote_ident(key.column)})" for key in wanted)
        filled = database.row(f"SELECT {counts} FROM {source.table}")
        for key, values in zip(wanted, filled, strict=True):
            kind = sql.observed(key.type)
            if values and kind is not Observed.OTHER:
                seen.setdefault(key.path, []).append((kind, source, key.column))
    types: dict[str, ValueType] = {}
    for path, places in seen.items():
        kinds = [kind for kind, _, _ in places]
        inferred = rules.infer(kinds)
        if inferred is None:
            raise JobError(
                f"{'.'.join(path)} is "
                + ", but ".join(f"{kind} in {source.label}" for kind, source, _ in places),
                place="sources",
                advice="make them one type with a cast in one of the mappings, or give the entry in schema:",
            )
        if inferred is ValueType.NUMERIC_INT and infer.categorical_integers is not None:
            distinct = database.value(
                "SELECT count(*) FROM ("
                + " UNION ".join(
                    f"(SELECT DISTINCT {sql.quote_ident(column)} FROM {source.table} "
                    f"WHERE {sql.quote_ident(column)} IS NOT NULL LIMIT {infer.categorical_integers + 1})"
                    for _, source, column in places
                )
                + ")"
            )
            if distinct <= infer.categorical_integers:
                inferred = ValueType.CATEGORICAL_INT
        types[".".join(path)] = inferred
    return types
