"""The requests that a sync sends once its plan is made, from what the plan says. Pure.

What a sync reads before that (tables, listings, schema.json, frame counts) is what the plan itself has read.
Not in it: retries, renewals of the lease, what a conflict or a failure costs, the ledger that is put into
one piece every eighth run, and the deletes of old backups. `tests/e2e/test_price.py` compares it with what
reaches a server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from metaferry.planning.price.model import PriceTable, Requests, Saving

#: Objects that one page of a listing shows.
PAGE: Final = 1_000
#: Requests that probe what a store does with conditions (`storage/capability_probe.py`), where it honours
#: them: four puts, two of which are refused and read back, one listing, two deletes.
PROBE: Final = Requests(put=4, get=2, list=1, delete=2)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a plan knows that decides how many requests its sync sends.

    looks: a delete under a condition is two requests, as on S3: the object is looked at first. unguarded:
    puts whose condition the store does not honour, so that the object is looked at before each. begun: this
    is a sync already, which has taken its lease and probed its stores. probes: stores to be probed. entries:
    whether entries were inferred, which the state folder remembers; defaults: whether it remembers those too.
    ledger_rows: rows of one piece of the
    ledger; ledger_listed: whether it was listed for the plan. reports: files of findings and rejects.
    expired: files of old runs. kept, kept_state, kept_files: old versions that are read for a backup
    (schema.json among them), what is read of the state folder for it, and its files; old_backups: whether
    those are listed that may be too old. pages: pieces of a large listing that are kept while it is made.
    """

    writes: int = 0
    deletes: int = 0
    schema: bool = False
    read_back: int = 0
    looks: bool = False
    state_looks: bool = False
    unguarded: int = 0
    begun: bool = False
    probes: int = 0
    entries: bool = False
    defaults: bool = False
    ledger_rows: int = 1_000_000
    ledger_listed: bool = False
    reports: int = 0
    expired: int = 0
    kept: int = 0
    kept_state: int = 0
    kept_files: int = 0
    old_backups: bool = False
    pages: int = 0

    @property
    def changes(self) -> bool:
        """Whether the sync writes anything to the datasource."""
        return bool(self.writes or self.deletes or self.schema)


def of_documents(facts: Facts) -> Requests:
    """The requests to the Lightly datasource for documents and schema.json."""
    return Requests(
        put=facts.writes + facts.schema,
        get=facts.kept + facts.read_back + facts.unguarded + facts.deletes * facts.looks,
        delete=facts.deletes,
    )


def of_state(facts: Facts) -> Requests:
    """The requests to the state folder: lease, report, ledger and what else a run leaves there."""
    # run.json, findings and rejects; the lease is deleted at the end.
    found = Requests(put=1 + facts.reports, delete=1 + facts.expired, get=int(facts.state_looks))
    if not facts.begun:
        found += Requests(put=1)
        for _ in range(facts.probes):
            found += PROBE + Requests(get=int(facts.state_looks))
        found += Requests(put=int(facts.probes > 0))
        if facts.pages:
            found += Requests(put=2 * facts.pages, delete=facts.pages + 1)
    if facts.changes:
        found += Requests(put=1 + facts.defaults)  # started.json
    found += Requests(get=facts.kept_state, put=facts.kept_files, list=int(facts.old_backups))
    if facts.schema and facts.entries:
        found += Requests(get=1, put=1)
    done = facts.writes + facts.deletes
    if done:
        found += Requests(list=int(not facts.ledger_listed), put=-(-done // facts.ledger_rows))
    return found


def savings(
    facts: Facts,
    prices: PriceTable | None,
    media_prices: PriceTable | None,
    *,
    listed: int,
    share: float,
    compactable: int = 0,
    asked: Requests = Requests(),  # noqa: B008 - not changed
) -> tuple[Saving, ...]:
    """What the same sync would save in another way, where that is a thousand requests or more.

    `listed` objects of the input were listed for it (0: they come from an inventory); `share` of the written
    documents is read back; `compactable` of them would not be put under `compact`; `asked` are
    requests for facts of single objects.
    """
    found: list[Saving] = []
    if compactable >= PAGE:
        what = "fewer documents that say the same (compact: true)"
        found.append(_saving(what, Requests(put=compactable), prices))
    pages = Requests(list=max(0, -(-listed // PAGE) - 1))
    if pages.list >= PAGE:
        what = "media from an inventory (media.inventory) in place of a listing"
        found.append(_saving(what, pages, media_prices))
    if asked.get + asked.tags >= PAGE:
        what = "media without what each has to be asked for (object: headers, tags)"
        found.append(_saving(what, asked, media_prices))
    reads = Requests(get=facts.read_back)
    if share and reads.get >= PAGE:
        found.append(_saving("no documents read back (verify: never)", reads, prices))
    return tuple(found)


def _saving(what: str, requests: Requests, prices: PriceTable | None) -> Saving:
    known = prices is not None and not prices.unknown(requests)
    return Saving(what, requests, prices.amount(requests) if known and prices is not None else None)
