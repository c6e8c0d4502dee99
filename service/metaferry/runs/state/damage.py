"""Documents that read back as other bytes than were written, recorded until they read back right.

The listing does not show the damage, since the metadata that the store keeps is right; only this record
makes the next run write the document again. It is a file of the run that found it,
`runs/<run id>/damaged….parquet`: a run lists these files anyway, so it costs no request while nothing is
damaged. Each run that ends carries what is left over into its own folder.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import duckdb

from metaferry.planning.database import Database
from metaferry.planning.formats import DAMAGE_COLUMNS
from metaferry.planning.sql.rules import quote_text
from metaferry.runs.state.folder import RunHistory, State
from metaferry.runs.state.ledger import export_parquet

log = logging.getLogger(__name__)


class Damage:
    """The table `damaged(target)` and its files. `name` is that of the file which this run writes."""

    def __init__(self, database: Database, state: State, run_id: str, name: str = "damaged") -> None:
        self._database = database
        self._state = state
        self._key = state.run_key(run_id, f"{name}.parquet")
        self._loaded: list[str] = []
        self._written = False

    def __bool__(self) -> bool:
        return bool(self._database.value("SELECT count(*) FROM damaged"))

    def load(self, history: RunHistory) -> None:
        """Adds what earlier runs recorded."""
        for key in history.files:
            if key.rpartition("/")[2].startswith("damaged") and (data := self._state.read(key)) is not None:
                self._loaded.append(key)
                self._take(key, data)

    def remember(self, targets: Iterable[str]) -> None:
        """Adds documents, at once also to the state folder: this run may be killed before its end."""
        for target in targets:
            self._database.run("INSERT INTO damaged VALUES (?)", [target])
        self._write()

    def forget(self, targets: str) -> None:
        """Takes documents off the list: those of a query of their targets."""
        self._database.run(f"DELETE FROM damaged WHERE target IN ({targets})")

    def save(self) -> None:
        """Leaves the list as it is now, in one file, and deletes those that it was loaded from."""
        self.forget("SELECT target FROM outcomes WHERE outcome = 'done' AND action = 'delete'")
        if self:
            self._write()
        elif self._written:
            self._state.delete([self._key])
        self._state.delete(key for key in self._loaded if key != self._key)

    def _write(self) -> None:
        data = export_parquet(self._database, "SELECT DISTINCT target FROM damaged", "damaged")
        self._state.write(self._key, data)
        self._written = True

    def _take(self, key: str, data: bytes) -> None:
        file = self._database.scratch / "damaged-before.parquet"
        try:
            file.write_bytes(data)
            columns = ", ".join(DAMAGE_COLUMNS)
            self._database.run(
                f"INSERT INTO damaged SELECT {columns} FROM read_parquet({quote_text(str(file))})"
            )
        except duckdb.Error as error:
            log.warning("%s is damaged itself, and not used (%s)", key, str(error).splitlines()[0])
        finally:
            file.unlink(missing_ok=True)
