"""Whether the stores of a run honour conditions on writes; asked once in thirty days, and remembered.

Some stores that speak S3 take a condition and ignore it, and nothing in their answers tells. A probe
does (`Retrying.probe_conditions`: two puts, a read and a delete of a name that nobody uses). What it
found lies in `traits.json` in the state folder, by the URL of the store: reading it is one request a
run, on S3 alone. It can be lost without harm: the next run asks again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from metaferry.errors import NotFound
from metaferry.storage.contract import Storage
from metaferry.storage.retry import Retrying

log = logging.getLogger(__name__)

VERSION: Final = 1
_GOOD_FOR: Final = timedelta(days=30)


async def learn_conditions(
    stores: Iterable[tuple[Storage, str]], memory: Storage, key: str, now: datetime
) -> None:
    """Makes `traits.conditional` of each store true to what the store does.

    Each comes with a key that may be written and deleted. `memory` holds traits.json under `key`.
    """
    asked = [
        (store, probe)
        for store, probe in stores
        if isinstance(store, Retrying) and store.traits.conditional and store.traits.conditions_vary
    ]
    if not asked:
        return
    known = await _remembered(memory, key)
    changed = False
    for store, probe in asked:
        honoured = _still_known(known.get(store.url), now)
        if honoured is None:
            honoured = await store.probe_conditions(probe)
            known[store.url] = {"conditional": honoured, "asked": now.isoformat(timespec="seconds")}
            changed = True
        elif not honoured:
            store.without_conditions()
    if changed:
        text = json.dumps({"version": VERSION, "stores": known}, indent=2, ensure_ascii=False)
        await memory.put(key, text.encode() + b"\n")


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


def _still_known(entry: Any, now: datetime) -> bool | None:
    """What was found out, if it was within the time; a date in the future is none."""
    try:
        honoured, asked = entry["conditional"], datetime.fromisoformat(entry["asked"])
        fresh = timedelta(0) <= now - asked <= _GOOD_FOR
    except (KeyError, TypeError, ValueError):
        return None
    return honoured if fresh and isinstance(honoured, bool) else None
