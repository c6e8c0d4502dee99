"""Schema entries for people: as YAML with their reasons, their faults, and their changes. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import yaml

from metaferry.cli.show.text import count, safe
from metaferry.planning.formats import SchemaEdit

if TYPE_CHECKING:
    from metaferry.lightly.schema import Entry
    from metaferry.view.schema.check import CheckedSchema
    from metaferry.view.schema.diff import SchemaDiff
    from metaferry.view.schema.infer import InferredSchema, Proposed
    from metaferry.view.schema.profile import Profile

#: Characters of a value that are shown.
_LONGEST: Final = 60
#: Texts that YAML, of any version, reads as text without quotes.
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_WORDS: Final = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])


def inferred_lines(found: InferredSchema) -> Iterator[str]:
    """The `schema:` of a job file, with the reasons of each entry as comments."""
    unread = f"; {count(found.malformed, 'row')} could not be read" if found.malformed else ""
    unread += f"; `where` leaves out {count(found.filtered, 'row')}" if found.filtered else ""
    yield f"# {count(len(found.entries), 'entry', 'entries')} from {count(found.rows, 'row')}{unread}."
    yield "# Pasted into a job file, they are added to schema.json, or change its entries of the same path."
    if not found.entries:
        yield "schema: infer  # no column gives an entry"
    else:
        yield "schema:"
    for each in found.entries:
        yield ""
        yield from _entry_lines(each)
    for note in found.notes:
        yield ""
        source = f"{note.source}: " if note.source else ""
        yield f"# Note: {safe(source + note.message)}"
        if note.advice:
            yield f"#   → {safe(note.advice)}"


def checked_lines(found: CheckedSchema) -> Iterator[str]:
    """Every fault on a line with its place, and what was looked at."""
    for fault in found.faults:
        places = [str(number) for number in (fault.line, fault.column) if number]
        yield safe(":".join([fault.file, *places]) + f": {fault.message}")
    for note in found.notes:
        yield f"note: {safe(note)}"
    looked = f"; {found.read:,} of {count(found.documents, 'document')} read" if found.documents else ""
    faults = count(len(found.faults), "fault") if found.faults else "no fault"
    yield f"{', '.join(map(safe, found.checked)) or 'no schema.json'}: {faults}{looked}"


def diff_lines(found: SchemaDiff) -> Iterator[str]:
    """Each entry that is added (+), changed (~) or removed (-), and what it comes to."""
    for entry in found.added:
        yield f"+ {safe(entry.path)}  {entry.type}, {_shown(entry)}"
    for change in found.changed:
        edit = SchemaEdit(change.after.path, change.before.to_json(), change.after.to_json())
        many = count(change.documents, "document is", "documents are")
        yield f"~ {safe(edit.path)}  {safe(', '.join(edit.differences()))}; {many} written again with it"
    for entry in found.removed:
        yield f"- {safe(entry.path)}  {entry.type}, {_shown(entry)}"
    there = "schema.json" if found.exists else "there is no schema.json yet"
    figures = (
        f"{there}: {len(found.added):,} added, {len(found.changed):,} changed, "
        f"{len(found.removed):,} removed, {found.kept:,} unchanged"
    )
    yield figures
    if found.stopped:
        yield f"A sync would stop before it writes anything: {safe(found.stopped)}"
        if found.advice:
            yield f"  → {safe(found.advice)}"
    elif found.written:
        yield "A sync would write schema.json."
    else:
        yield "A sync would leave schema.json as it is."


def _shown(entry: Entry) -> str:
    name = f", shown as {_json(entry.name)}" if entry.name != entry.path else ""
    return f"default {_json(entry.default)}{name}"


def _entry_lines(each: Proposed) -> Iterator[str]:
    for column in each.columns:
        yield f"  # {_column(column)}"
    if not each.columns:
        yield "  # no source gives this key"
    if each.origin != "data":
        place = "schema.json" if each.origin == "schema.json" else "the job's `schema:`"
        other = each.by_data is not None and each.by_data is not each.entry.type
        yield f"  # as it is in {place}" + (f"; the data alone would give {each.by_data}" if other else "")
    if each.unfit:
        yield f"  # {count(each.unfit, 'value does', 'values do')} not fit it: a run rejects their rows"
    whole = any(not column.mapped for column in each.columns)
    for other_type in each.alternatives:
        yield f"  # could be {other_type.type}, default {_json(other_type.default)}: {safe(other_type.why)}"
        if other_type.write:
            rest = "; `metadata:` then has to name the other keys too" if whole else ""
            yield f"  #   with this line in `metadata:` → {safe(other_type.write)}{rest}"
    for at, (key, value) in enumerate(each.entry.to_json().items()):
        yield f"  {'-' if at == 0 else ' '} {key}: {_scalar(value)}"


def _column(column: Profile) -> str:
    """The figures of one column, on one line."""
    parts = [f"{column.rows:,} {'row' if column.rows == 1 else 'rows'}"]
    if column.nulls:
        parts.append(f"{column.nulls:,} without a value")
    if column.not_finite:
        parts.append(f"{column.not_finite:,} not finite")
    if column.distinct:
        parts.append(f"{column.distinct:,} different")
    if column.minimum is not None and not isinstance(column.minimum, bool):
        parts.append(f"{_json(column.minimum)} to {_json(column.maximum)}")
    if column.examples:
        shown = ", ".join(f"{_json(each.value)} ({each.rows:,})" for each in column.examples)
        parts.append(f"{'most often' if column.examples[0].rows > 1 else 'such as'} {shown}")
    name = f"{column.source}, {column.name}" if column.name else column.source
    return f"{safe(name)} ({column.type.lower()}): {', '.join(parts)}"


def _json(value: Any) -> str:
    text = safe(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _scalar(value: Any) -> str:
    """A value on one line of YAML that reads back equal under every version of YAML."""
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    dumped = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=float("inf"))
    return str(dumped).rstrip("\n")
