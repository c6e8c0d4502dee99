"""The job file that reads an export back: a sync of it writes the documents that were exported.

Made of the columns of the table and of the job, or the URL, that was exported; without secrets. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.job.serialize import keep_job
from metaferry.lightly.key_paths import RESERVED_PREFIX, join_path
from metaferry.lightly.schema import Entry
from metaferry.planning.sql.text import quote_ident
from metaferry.view.export.shapes import is_step
from metaferry.view.export.values import DOCUMENT, ValueColumn

#: What a job says of the place that was exported, and its export too.
_PLACE: Final = ("input", "lightly", "state", "storage", "media", "transport")


def is_mapped(column: ValueColumn) -> bool:
    """Whether a source can give the key of this column back: not as JSON text, nor under a reserved name."""
    steps = column.steps
    return not column.is_text and all(map(is_step, steps)) and not steps[0].startswith(RESERVED_PREFIX)


def job_text(
    job: Job, table: str, columns: Sequence[ValueColumn], entries: Sequence[Entry] | None, *, command: str
) -> str:
    """YAML of the job. `table` as the file names it; `entries` None: there is no schema.json.

    `command` is how the job is run, for the comment at its head.
    """
    place, lacking = _place(job)
    source: dict[str, Any] = {
        "table": table,
        "where": f"state = '{DOCUMENT}'",
        "file_name": "media",
        "frame": "frame",
        "metadata": {join_path(c.steps): quote_ident(c.name) for c in columns if is_mapped(c)},
    }
    mapping: dict[str, Any] = {**place, "sources": [_escaped(source)]}
    if entries is not None:
        mapping["schema"] = {"entries": [_escaped(entry.to_json()) for entry in entries], "exact": True}
    text = yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True)
    head = [
        "# Reads this export back: a sync writes the documents that were exported.",
        f"#   {command}",
        "# Into another place: --set lightly=URL",
    ]
    if lacking:
        head.append(f"# Left out, since it may be a secret: {lacking}. Add it as a ${{VARIABLE}}.")
    return "\n".join([*head, "", text])


def _place(job: Job) -> tuple[dict[str, Any], str]:
    """What the exported job says of its place; and the key that was left out, "" where none was."""
    mapping, secret = keep_job(job)
    if mapping is None:
        without = {name: _plain(getattr(job, name)) for name in ("input", "lightly", "state")}
        mapping, _ = keep_job(job.model_copy(update={**without, "storage": {}}))
    return {key: mapping[key] for key in _PLACE if mapping and mapping.get(key)}, secret


def _plain(location: Location | None) -> Location | None:
    """A location without options and credentials."""
    return None if location is None else Location(url=location.shown)


def _escaped(value: Any) -> Any:
    """`${` in values as a job file writes it where it is no variable; keys hold none."""
    if isinstance(value, Mapping):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    return value.replace("${", "$${") if isinstance(value, str) else value
