"""Whether the stores of a run honour preconditions of writes; probed once in thirty days.

Some stores with the API of S3 accept a precondition and ignore it, or refuse one that holds, without any
sign in their responses. `storage/capability_probe.py` finds out, with some ten requests for a key that is
not used otherwise. The result is kept in `traits.json` in the state folder, by the URL of the store: one
read a run, on S3 only. It can be lost without harm: the next run probes again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from metaferry.errors import NotFound
from metaferry.storage.capability_probe import Honoured
from metaferry.storage.protocol import Storage
from metaferry.storage.retry.storage import Retrying

log = logging.getLogger(__name__)

VERSION: Final = 1
#: The names of what was found out, as `Honoured` has it.
_NAMES: Final = ("conditional", "replaces", "lists_tokens")
_VALID_FOR: Final = timedelta(days=30)


async def probe_capabilities(
    stores: Iterable[tuple[Storage, str]], memory: Storage, key: str, now: datetime
) -> None:
    """Sets the capabilities of each store to what the store does.

    Each comes with a key that may be written and deleted. `memory` has traits.json under `key`.
    """
    unproven = [(store, path) for store, path in stores if isinstance(store, Retrying) and _may_differ(store)]
    if not unproven:
        return
    known = await _remembered(memory, key)
    changed = False
    for store, path in unproven:
        found = _still_known(known.get(store.url), now)
        if found is None:
            found = await store.probe_conditions(path)
            values = dict(zip(_NAMES, found, strict=True))
            known[store.url] = {**values, "asked": now.isoformat(timespec="seconds")}
            changed = True
        else:
            store.adopt(found)
    if changed:
        text = json.dumps({"version": VERSION, "stores": known}, indent=2, ensure_ascii=False)
        await memory.put(key, text.encode() + b"\n")


async def recall_conditions(stores: Iterable[Storage], memory: Storage, key: str, now: datetime) -> int:
    """The same without a write: as far as traits.json has it. How many stores a sync has to probe."""
    unproven = [store for store in stores if isinstance(store, Retrying) and _may_differ(store)]
    known = await _remembered(memory, key) if unproven else {}
    unknown = 0
    for store in unproven:
        found = _still_known(known.get(store.url), now)
        if found is not None:
            store.adopt(found)
        else:
            unknown += 1
    return unknown


def _may_differ(store: Storage) -> bool:
    return store.capabilities.conditional and store.capabilities.conditions_vary


async def _remembered(memory: Storage, key: str) -> dict[str, Any]:
    try:
        data = (await memory.read(key)).data
    except NotFound as error:
        if not error.path:
            raise
        return {}
    try:
        value = json.loads(data)
        if value["version"] != VERSION or not isinstance(value["stores"], dict):
            raise ValueError("it is of another version")
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s/%s is not used, and written again: %s", memory.url.rstrip("/"), key, error)
        return {}
    return dict(value["stores"])


def _still_known(entry: Any, now: datetime) -> Honoured | None:
    """What was found out, if it was within the time; a date in the future is none."""
    try:
        found = Honoured(*(entry[name] for name in _NAMES))
        fresh = timedelta(0) <= now - datetime.fromisoformat(entry["asked"]) <= _VALID_FOR
    except (KeyError, TypeError, ValueError):
        return None
    return found if fresh and all(isinstance(value, bool) for value in found) else None
