"""The backup of a run: the pieces with old versions, and the JSON of each part that names them.

`backup/<run id>/<part>.json` in the state folder, with its pieces `<part>.NNNN.parquet` beside it. A part
covers a whole run, or a shard of it; its JSON is written after its pieces and before the first document
that they cover is touched. So a part without its JSON covers nothing that was done.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from typing import Final

from metaferry.planning.formats.plan import PlanFile

BACKUP_VERSION: Final = 1

#: Rows of a piece, one a document that the run was about to write or delete. `body`, `token`, `md5` and
#: `size` are of what was in place (`body` null: nothing was), `ours` is whether the ledger had it as one of
#: our runs left it. `written` is the MD5 of what the run writes there; null where it deletes.
BACKUP_COLUMNS: Final = {
    "target": "VARCHAR",
    "action": "VARCHAR",
    "body": "BLOB",
    "token": "VARCHAR",
    "md5": "VARCHAR",
    "size": "BIGINT",
    "ours": "BOOLEAN",
    "written": "VARCHAR",
}


@dataclass(frozen=True, slots=True)
class BackupSchema:
    """schema.json before the run, in base64 (None: there was none), and the MD5 of what the run writes.

    `inferred` is the state folder's record of the entries that runs inferred, in base64, as it was.
    """

    body: str | None
    written: str
    inferred: str | None = None

    @property
    def data(self) -> bytes | None:
        return decoded(self.body)


@dataclass(frozen=True, slots=True)
class BackupPart:
    """The JSON of a part. `started` is the run's start; `rows` of all pieces together."""

    run_id: str
    started: str
    pieces: tuple[PlanFile, ...] = ()
    rows: int = 0
    schema: BackupSchema | None = None
    version: int = BACKUP_VERSION

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False).encode() + b"\n"


def encoded(data: bytes | None) -> str | None:
    """Bytes for JSON."""
    return None if data is None else base64.b64encode(data).decode("ascii")


def decoded(text: str | None) -> bytes | None:
    """The bytes again. ValueError where it is not base64."""
    return None if text is None else base64.b64decode(text, validate=True)
