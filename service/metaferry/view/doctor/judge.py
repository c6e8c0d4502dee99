"""What a measurement means: ok, a warning, a failure, or a check that could not be made. Pure.

One function a check; each takes what was measured and gives one line with its remedy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from metaferry.errors import Denied, MetaferryError, NotFound, StorageError, Unsupported
from metaferry.runs.lease.look import held_for
from metaferry.runs.lease.record import LeaseRecord
from metaferry.storage.capability_probe import Honoured
from metaferry.storage.errors import CODES
from metaferry.view.doctor.cloud import Facts
from metaferry.view.doctor.machine import Scratch
from metaferry.view.doctor.model import Check, Measured, Status
from metaferry.view.doctor.rights import Need, StoreLocation, missing_right
from metaferry.view.doctor.store import Listing, Written
from metaferry.view.doctor.tables import TableFacts

#: Seconds of difference between two clocks that are noted, and that signatures do not survive
#: (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, RequestTimeTooSkewed: 15 minutes).
_SKEW_NOTED: Final = 30.0
_SKEW_REFUSED: Final = 900.0
#: Documents that latency is put into words for, and bytes of scratch that they need, from docs/operations.md.
_DOCUMENTS: Final = 1_000_000
_SCRATCH_LITTLE: Final = 1_000_000_000
_SHOWN: Final = 12

OK, WARN, FAIL, SKIPPED = Status.OK, Status.WARN, Status.FAIL, Status.SKIPPED


def is_missing_right(error: MetaferryError | None) -> bool:
    """Whether a right is missing, and not credentials or the bucket."""
    if not isinstance(error, Denied):
        return False
    known = CODES.get(error.code)
    return not (known and known.advice)


def failed(name: str, place: StoreLocation, error: MetaferryError, need: Need, key: str = "") -> Check:
    """A request that was refused: with the right to grant, or with the advice of the error."""
    remedy = missing_right(place, need, key) if is_missing_right(error) else error.advice
    said = "access denied" if is_missing_right(error) else error.message
    if is_missing_right(error):
        said += _detail(error)
    return Check(name, FAIL, said, remedy or "run it again; -v says more", place.url)


def judged(name: str, place: StoreLocation, found: Measured[Any], need: Need, key: str, words: str) -> Check:
    """A request that should have succeeded."""
    if found.skipped:
        return Check(name, SKIPPED, found.skipped, place=place.url)
    if found.error is not None:
        return failed(name, place, found.error, need, key)
    return Check(name, OK, words, place=place.url)


def credentials(place: StoreLocation, found: Measured[str]) -> Check:
    if found.skipped:
        return Check("credentials", SKIPPED, found.skipped, place=place.url)
    if found.error is not None:
        remedy = found.error.advice or "check the credentials in `storage:`, and run it again"
        return Check("credentials", FAIL, found.error.message, remedy, place.url)
    return Check("credentials", OK, found.value or "", place=place.url)


def identity(place: StoreLocation, found: Facts) -> list[Check]:
    """Whose credentials are used, and whether their signatures can be in time."""
    return [credentials(place, found.identity), clock(place, found.skew)]


def media(place: StoreLocation, found: Measured[Listing]) -> Check:
    name = "list media"
    if not found.done or found.value is None:
        return judged(name, place, found, "list", "", "")
    page = found.value
    more = " on the first page" if page.more else ""
    words = f"{page.media:,} of {page.keys:,} files{more} are media of the job"
    if page.media or page.more:
        return Check(name, OK, words, place=place.url)
    remedy = "check `input` and `media: {include, exclude}`: a run would find nothing to do"
    return Check(name, WARN, words, remedy, place.url)


def tags(place: StoreLocation, found: Measured[Mapping[str, str]]) -> Check:
    name = "read tags of media"
    if isinstance(found.error, Unsupported):
        remedy = "leave tags out of the sources `object:`: the column stays null"
        return Check(name, WARN, "this store has no tags", remedy, place.url)
    return judged(name, place, found, "tags", "", "yes")


def state_folder(place: StoreLocation, prefix: str, found: Written, *, lists: bool) -> list[Check]:
    """The checks of what was written below the state folder. `lists`: the bucket may be listed."""
    deleting, may_delete = "delete in the state folder", found.may_delete
    if place.store == "gcs" and not lists and is_missing_right(may_delete.error):
        why = "without the right to list, the store may answer the same to a file that is not there"
        may_delete = Measured(skipped=why)
    checks = [judged(deleting, place, may_delete, "delete", prefix, "yes")]
    if found.may_delete.done and found.delete.error is not None:
        checks = [failed(deleting, place, found.delete.error, "delete", prefix)]
    if found.left:
        left = f"left behind: {', '.join(found.left[:3])}"
        checks = [Check(deleting, FAIL, left, checks[0].remedy or "delete them by hand", place.url)]
    checks.append(judged("write in the state folder", place, found.write, "put", prefix, "yes"))
    checks.append(judged("overwrite in the state folder", place, found.overwrite, "overwrite", prefix, "yes"))
    checks.append(_read_back(place, prefix, found.read_back))
    if lists:
        checks.append(_listed(place, found.listed))
        checks.append(md5(place, found.md5))
    else:
        why = "the folder may not be listed"
        checks.append(Check("list after write", SKIPPED, why, place=place.url))
        checks.append(Check("MD5 in listings", SKIPPED, why, place=place.url))
    held = found.honoured
    unseen = "listed" if not lists else "read" if is_missing_right(found.read_back.error) else ""
    if unseen and not held.skipped:
        held = Measured(skipped=f"the folder may not be {unseen}")
    checks.append(conditional_writes(place, held))
    return checks


def _read_back(place: StoreLocation, prefix: str, found: Measured[bool]) -> Check:
    name = "read after write"
    if found.done and found.value is False:
        remedy = "no proxy or cache may stand before the store: a run could not trust what it reads"
        return Check(name, FAIL, "other bytes came back than were written", remedy, place.url)
    return judged(name, place, found, "read", prefix, "the bytes that were written")


def _listed(place: StoreLocation, found: Measured[bool]) -> Check:
    name = "list after write"
    if found.done and found.value is False:
        remedy = (
            "listings lag behind writes: leave a minute between two runs, or name a state folder elsewhere"
        )
        return Check(name, WARN, "a new file is not listed yet", remedy, place.url)
    return judged(name, place, found, "list", "", "a new file is listed")


def md5(place: StoreLocation, found: Measured[str]) -> Check:
    name = "MD5 in listings"
    if not found.done:
        return judged(name, place, found, "list", "", "")
    if found.value == "equal":
        return Check(name, OK, "equal to the body's: unchanged documents are recognised", place=place.url)
    what = "none" if found.value == "none" else "not the body's (a KMS or customer's key)"
    if place.store in ("s3", "gcs", "azure"):
        remedy = "nothing has to be done: the ledger recognises unchanged documents; keep the state folder"
        return Check(name, WARN, what, remedy, place.url)
    return Check(
        name, OK, f"{what}, as usual here: the ledger recognises unchanged documents", place=place.url
    )


def conditional_writes(place: StoreLocation, found: Measured[Honoured]) -> Check:
    name = "conditional writes"
    if not found.done or found.value is None:
        return judged(name, place, found, "put", "", "")
    create, replace = found.value.create, found.value.replace
    if create and replace:
        words = "creating over a file and replacing another version are refused"
        return Check(name, OK, words, place=place.url)
    what = "ignored by the store" if not create else "creating is conditional, replacing is not"
    remedy = (
        "let one run at a time write here: the lease and other writers are checked just before each write"
    )
    return Check(name, WARN, what, remedy, place.url)


def write_documents(place: StoreLocation, folder: str, found: Measured[bool]) -> Check:
    name = "write documents"
    if found.done and found.value is False:
        return Check(name, FAIL, "access denied", missing_right(place, "put", folder), place.url)
    return judged(name, place, found, "put", folder, "yes (nothing was written)")


def delete_documents(place: StoreLocation, folder: str, found: Measured[bool], *, policy: str) -> Check:
    """Without `policy.delete` only documents of frames under a wrong name are deleted: a warning."""
    name = "delete documents"
    if found.done and found.value is False:
        remedy = missing_right(place, "delete", folder)
        if policy == "never":
            remedy += ", or documents of frames under a wrong name stay"
            return Check(name, WARN, "access denied; policy.delete is never", remedy, place.url)
        return Check(name, FAIL, f"access denied, and policy.delete is {policy}", remedy, place.url)
    return judged(name, place, found, "delete", folder, "yes (nothing was deleted)")


def latency(place: StoreLocation, found: Measured[list[float]], concurrency: int, *, writes: bool) -> Check:
    if not found.done or not found.value:
        return judged("latency", place, found, "put" if writes else "read", "", "")
    taken = sorted(found.value)
    middle, high = _quantile(taken, 0.5), _quantile(taken, 0.95)
    kind = "writes" if writes else "reads"
    words = f"p50 {middle * 1000:.0f} ms, p95 {high * 1000:.0f} ms of {len(taken)} {kind}"
    if not writes:
        return Check("latency", OK, words, place=place.url)
    needed = _DOCUMENTS * middle / concurrency
    words += f"; {_DOCUMENTS:,} documents at concurrency {concurrency}: at least {_duration(needed)}"
    if middle <= 0.5:
        return Check("latency", OK, words, place=place.url)
    return Check("latency", WARN, words, "run it nearer to the store, or raise `concurrency`", place.url)


def clock(place: StoreLocation, found: Measured[float]) -> Check:
    if not found.done or found.value is None:
        why = found.skipped or (found.error.message if found.error else "not measured")
        return Check("clock", SKIPPED, why, place=place.url)
    ahead = found.value
    way = "ahead of" if ahead > 0 else "behind"
    words = f"{abs(ahead):.0f} s {way} the store's" if abs(ahead) >= 2 else "the store's, within 2 s"
    if abs(ahead) < _SKEW_NOTED:
        return Check("clock", OK, words, place=place.url)
    remedy = "set the clock of this machine (NTP): requests are refused once it is 15 minutes off"
    return Check("clock", FAIL if abs(ahead) >= _SKEW_REFUSED else WARN, words, remedy, place.url)


def settings(place: StoreLocation, facts: Facts) -> list[Check]:
    """Encryption, versions and lifecycle. A right that is missing to read one of them is no fault."""
    return [
        _setting("encryption", place, facts.encryption, "encryption", _encryption),
        _setting("versioning", place, facts.versioning, "versioning", _versioning),
        _setting("lifecycle", place, facts.lifecycle, "lifecycle", _lifecycle),
    ]


def _setting(name: str, place: StoreLocation, found: Measured[str], need: Need, judge: Any) -> Check:
    if found.skipped:
        return Check(name, SKIPPED, found.skipped, place=place.url)
    if is_missing_right(found.error):
        return Check(name, SKIPPED, f"to see it, {missing_right(place, need)}", place=place.url)
    if found.error is not None:
        detail = _detail(found.error) if getattr(found.error, "status", None) else ""
        return Check(name, SKIPPED, f"the store does not say{detail}", place=place.url)
    status, remedy = judge(found.value or "")
    return Check(name, status, found.value or "", remedy, place.url)


def _encryption(value: str) -> tuple[Status, str]:
    if "kms" in value or "key" in value:
        return WARN, "the identity needs the use of the key too: kms:GenerateDataKey and kms:Decrypt on AWS"
    return OK, ""


def _versioning(value: str) -> tuple[Status, str]:
    if value.startswith("enabled") or "soft delete" in value:
        return WARN, "old versions of replaced documents are kept and paid for: expire noncurrent ones"
    return OK, ""


def _lifecycle(value: str) -> tuple[Status, str]:
    if value != "none":
        return WARN, "check that no rule expires or archives what is below .lightly/ and .metaferry/"
    return OK, ""


def lease(place: StoreLocation, found: Measured[Any], job: str) -> Check:
    """`found` is None for no lease, else (record, age in seconds or None, whether its process is gone)."""
    name = "lease"
    if not found.done:
        return judged(name, place, found, "read", "", "")
    if found.value is None:
        return Check(name, OK, "not held", place=place.url)
    holder: LeaseRecord
    holder, age, gone = found.value
    words = f"{holder.name}, {held_for(holder, age)}"
    expired = age is not None and age > holder.lease_for
    if not gone and not expired:
        return Check(name, OK, f"held by a run under way: {words}", place=place.url)
    remedy = (
        f"metaferry unlock {job}, once you know that its run is gone; the next sync waits for it otherwise"
    )
    return Check(name, WARN, f"stuck: {words}", remedy, place.url)


def schema(place: StoreLocation, found: Measured[Any], folder: str) -> Check:
    """`found` is None for no file, else (number of entries, faults as text)."""
    name = "schema.json"
    if not found.done:
        return judged(name, place, found, "read", folder, "")
    if found.value is None:
        return Check(name, OK, "none yet: a sync writes it", place=place.url)
    entries, faults = found.value
    if faults:
        words = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}: {faults[0]}"
        return Check(name, FAIL, words, "metaferry schema check names all of them", place.url)
    return Check(name, OK, f"valid, {entries} entr{'y' if entries == 1 else 'ies'}", place=place.url)


def table(label: str, found: Measured[TableFacts]) -> Check:
    error, facts = found.error, found.value
    if facts is None:
        if error is None:
            return Check("table", SKIPPED, found.skipped, place=label)
        remedy = error.advice or "correct it, and run it again"
        return Check("table", FAIL, error.message, remedy, label)
    files = f"{facts.files} file{'' if facts.files == 1 else 's'}, {_size(facts.size)}"
    if facts.rows is None and facts.columns is None:
        return Check("table", OK, f"{files}; readable; `metaferry plan` finds its columns", place=label)
    rows = "" if facts.rows is None else f", {facts.rows:,} row{'' if facts.rows == 1 else 's'}"
    names = [f"{name} {kind}" for name, kind in facts.columns or ()]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    words = f"{files}{rows}: {', '.join(names[:_SHOWN])}{more}"
    if facts.malformed:
        remedy = "metaferry plan names them in its rejects"
        return Check("table", WARN, f"{facts.malformed:,} malformed rows; {words}", remedy, label)
    return Check("table", OK, words, place=label)


def scratch(found: Scratch, rows: int | None) -> Check:
    """`rows` of the job's tables; None where that is not known. The need is that of docs/operations.md."""
    name = "scratch space"
    if not found.writable:
        remedy = "name a folder with free space in the job file: scratch: /path"
        return Check(name, FAIL, "no file can be written there", remedy, found.folder)
    need = _SCRATCH_LITTLE if rows is None else _scratch_need(rows)
    what = (
        "1 GB for a million records"
        if rows is None
        else f"{_size(need)} for {rows:,} {'row' if rows == 1 else 'rows'}"
    )
    words = f"{_size(found.free)} free; needed at most {what}"
    if found.free < need:
        remedy = "free some space there, or name another folder (scratch: /path)"
        return Check(name, WARN, words, remedy, found.folder)
    return Check(name, OK, words, place=found.folder)


def _scratch_need(rows: int) -> int:
    """0.4 GB for the first million records, 0.8 GB for each million after it."""
    return 400 * min(rows, 1_000_000) + 800 * max(0, rows - 1_000_000)


def proxies(found: Sequence[str]) -> Check:
    return Check("proxies", OK, ", ".join(found) or "none in the environment")


def versions(words: str) -> Check:
    return Check("versions", OK, words)


# -- helpers


def blocks(error: MetaferryError | None) -> str:
    """Why nothing else of this store can be measured; "" where it can."""
    if error is None or is_missing_right(error):
        return ""
    if isinstance(error, Denied):
        return "the store refuses the credentials"
    if isinstance(error, NotFound):
        return "there is no such place"
    return "the store did not answer as it should"


def _detail(error: MetaferryError) -> str:
    """` (403 AccessDenied)`, as far as there is any."""
    if not isinstance(error, StorageError):
        return ""
    detail = " ".join(str(part) for part in (error.status, error.code) if part)
    return f" ({detail})" if detail else ""


def _quantile(taken: Sequence[float], share: float) -> float:
    return taken[min(len(taken) - 1, int(share * len(taken)))]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(octets: int) -> str:
    value = float(octets)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
