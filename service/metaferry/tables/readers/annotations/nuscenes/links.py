"""The small tables of a dataset by token: what a row of a large one leads to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import shown, text

#: Of each small table the columns that are kept; all else (polygons of maps, calibrations) is passed over.
KEPT: Final[Mapping[str, tuple[str, ...]]] = {
    "sensor": ("channel", "modality"),
    "calibrated_sensor": ("sensor_token",),
    "log": ("logfile", "vehicle", "date_captured", "data_captured", "location"),
    "scene": ("log_token", "name", "description"),
    "sample": ("scene_token", "log_token"),
    "category": ("name",),
    "attribute": ("name",),
    "visibility": ("level",),
    "instance": ("category_token",),
}
#: Rows of all of them that are held, at most: nuScenes has 0.15 million.
MOST: Final = 3_000_000


class TooMany(Exception):
    """The small tables have more than `MOST` rows."""


class Links:
    """Rows of the small tables that are there, by token."""

    def __init__(self, tables: frozenset[str]) -> None:
        self._rows: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in KEPT if name in tables}
        self._shared: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._count = 0

    def add(self, table: str, value: Mapping[str, Any]) -> None:
        """One row. Raises Bad for one without a token, or with that of another; TooMany."""
        token = text(value.get("token"), "token")
        if not token:
            raise Bad("it has no token", "token")
        if token in self._rows[table]:
            raise Bad(f"its token {token} is that of another row", "token")
        self._count += 1
        if self._count > MOST:
            raise TooMany
        kept = {key: value[key] for key in KEPT[table] if value.get(key) is not None}
        for key, one in kept.items():
            text(one, key)
        # Many samples are of one scene.
        self._rows[table][token] = self._shared.setdefault(tuple(kept.items()), kept)

    def find(self, table: str, token: Any) -> Mapping[str, Any] | None:
        """The row of a token; None where there is none."""
        return self._rows.get(table, {}).get(token) if isinstance(token, str) else None

    def must(self, table: str, token: Any, key: str) -> Mapping[str, Any]:
        """The row of a token. Raises Bad."""
        found = self.find(table, token)
        if found is None:
            raise Bad(f"its {key} {shown(token)} is in no row of {table}.json", key)
        return found

    def may(self, table: str, token: Any, key: str) -> Mapping[str, Any]:
        """The row of a token, or an empty one where there is no token, or no such table. Raises Bad."""
        if table not in self._rows or token in (None, ""):
            return {}
        return self.must(table, token, key)
