"""Finds the backup of a run in the state folder, and brings its pieces to this machine, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from metaferry.errors import MetaferryError, UsageError
from metaferry.lightly.document import md5_hex
from metaferry.planning.formats import BACKUP_VERSION, BackupPart, BackupSchema, PlanFile, read_format
from metaferry.runs.state.folder import RunHistory, State
from metaferry.storage.io.concurrent import batched

#: Runs that a message names, newest first.
_NAMED: Final = 10
#: Pieces that are in memory at once.
_PARALLEL: Final = 2


@dataclass(frozen=True, slots=True)
class StoredBackup:
    """The backup of one run: its pieces, and schema.json as it was where the run was to write it. `parts` is
    how many files name the pieces."""

    run_id: str
    parts: int
    pieces: tuple[PlanFile, ...]
    rows: int
    schema: BackupSchema | None


def find_backup(state: State, history: RunHistory, run_id: str) -> StoredBackup:
    """The backup of this run. UsageError where there is none: it says why, and which runs have one."""
    backups = {
        run: [name for name in names if name.endswith(".json")] for run, names in state.backups().items()
    }
    names = backups.get(run_id, [])
    if not names:
        others = sorted((run for run, parts in backups.items() if parts), reverse=True)
        raise UsageError(_why_none(state, history, run_id, known=run_id in backups), advice=_others(others))
    keys = [state.backup_key(run_id, name) for name in names]
    read = state.read_all(keys)
    parts = [_parse(state, key, read.get(key), run_id) for key in keys]
    return StoredBackup(
        run_id,
        len(parts),
        tuple(piece for part in parts for piece in part.pieces),
        sum(part.rows for part in parts),
        next((part.schema for part in parts if part.schema is not None), None),
    )


def fetch_pieces(state: State, backup: StoredBackup, folder: Path) -> list[Path]:
    """The pieces as files of `folder`, in their order. MetaferryError where one is gone or is another."""
    folder.mkdir()
    files: list[Path] = []
    for some in batched(backup.pieces, _PARALLEL):
        read = state.read_all(state.backup_key(backup.run_id, piece.name) for piece in some)
        for piece in some:
            key = state.backup_key(backup.run_id, piece.name)
            data = read.get(key)
            if data is None or md5_hex(data) != piece.md5:
                what = "is gone" if data is None else "is damaged"
                raise MetaferryError(
                    f"the backup of the run {backup.run_id} is not whole: {state.url_of(key)} {what}",
                    advice="bring the file back from a copy of the state folder; nothing was changed",
                )
            files.append(folder / f"{len(files):04d}.parquet")
            files[-1].write_bytes(data)
    return files


def _parse(state: State, key: str, data: bytes | None, run_id: str) -> BackupPart:
    try:
        if data is None:
            raise ValueError("it is gone")
        part = read_format(BackupPart, data, BACKUP_VERSION)
        if part.run_id != run_id:
            raise ValueError(f"it is of the run {part.run_id}")
        if part.schema is not None:
            part.schema.data  # noqa: B018 - is it base64?
    except ValueError as error:
        raise MetaferryError(
            f"{state.url_of(key)} cannot be used: {error}", advice="nothing was changed"
        ) from None
    return part


def _why_none(state: State, history: RunHistory, run_id: str, *, known: bool) -> str:
    place = state.url_of("").rstrip("/")
    if known:
        return f"{place}: the run {run_id} was cut off before it overwrote anything: nothing to roll back"
    if run_id in history.begun:
        return (
            f"{place}: there is no backup of the run {run_id}: its job had no `backup`, or it changed "
            "nothing, or its backup is older than `backup.keep`"
        )
    if run_id in history.run_ids:
        return f"{place}: the run {run_id} changed nothing: nothing to roll back"
    return f"{place}: there is no run {run_id!r}"


def _others(run_ids: Sequence[str]) -> str:
    if not run_ids:
        return "no run can be rolled back; `backup: {keep: 30d}` in the job file makes later ones so"
    more = f" … and {len(run_ids) - _NAMED} more" if len(run_ids) > _NAMED else ""
    return f"runs that can be rolled back: {', '.join(run_ids[:_NAMED])}{more}"
