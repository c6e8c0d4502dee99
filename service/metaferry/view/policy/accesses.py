"""What a job does in buckets: list, read, write, delete, below which prefix, and what for. Pure.

From the job alone, before anything is read. So a query, whose columns nobody knows yet, counts as one about
frames, and annotations as well: their videos may have to be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.job.readers.object import asked_of_objects
from metaferry.job.sources import Source
from metaferry.job.tables import Table
from metaferry.lightly.globs import is_glob
from metaferry.lightly.names import DOCUMENTS
from metaferry.urls import SCHEMES, azure_location, bucket_and_key, is_blob_url, split_scheme

Verb = Literal["list", "read", "write", "delete", "tags"]
Store = Literal["s3", "gcs", "azure"]

#: The key that a sync writes and deletes to find out whether a store honours preconditions.
PROBE: Final = f"{DOCUMENTS}.metaferry-probe-"


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that a job does in a bucket.

    `prefix`: of the keys; None of a listing is the whole bucket. `exact`: the one key `prefix`. `write` is to
    create and to replace, `tags` to read the tags. `account` is of Azure, "" where the job does not name it.
    """

    store: Store
    bucket: str
    verb: Verb
    prefix: str | None
    why: str
    exact: bool = False
    account: str = ""

    @property
    def below(self) -> str:
        """Of a listing: the words for the part of the bucket that it is about, behind the bucket's name."""
        return f"{' with the prefix' if self.exact else ' below'} {self.prefix}" if self.prefix else ""

    def covers(self, other: Access) -> bool:
        """Whether whoever may do this may do the other too."""
        if (self.store, self.bucket, self.verb) != (other.store, other.bucket, other.verb):
            return False
        if self.prefix is None:
            return True
        if other.prefix is None or (self.exact and not other.exact):
            return False
        return other.prefix == self.prefix if self.exact else other.prefix.startswith(self.prefix)


def accesses_of(job: Job) -> tuple[list[Access], list[str]]:
    """All that the job does in S3, Google Cloud Storage and Azure, each once; and the other locations."""
    found: list[Access] = []
    others: list[str] = []
    for location, each in _all(job):
        place = _place(location, job)
        if place is None:
            if location.shown not in others:
                others.append(location.shown)
            continue
        if each.verb == "tags" and place.store == "gcs":  # its objects have none
            continue
        if each.prefix is not None:
            key = _joined(place.prefix or "", each.prefix) if each.prefix else place.prefix or ""
            each = replace(each, prefix=key)
        found.append(replace(each, store=place.store, bucket=place.bucket, account=place.account))
    return _each_once(found), others


def _all(job: Job) -> Iterator[tuple[Location, Access]]:
    """Each access with the location that its prefix is below."""
    media = _folder(job.input)
    if job.media.inventory is None:
        yield media, _access("list", "", "the media are listed")
    else:
        report = _folder(job.media.inventory)
        yield report, _access("list", "", "the newest inventory report is looked for")
        yield report, _access("read", "", "the inventory report")
    if _may_read_media(job):
        yield media, _access("read", "", "frames of videos are counted")
    asked = asked_of_objects(job)
    if any(each.headers for each in asked):
        yield media, _access("read", "", "user metadata of the media (object: headers)")
    if any(each.tags for each in asked):
        yield media, _access("tags", "", "tags of the media (object: tags)")
    for location in _tables(job):
        yield from _of_table(location)
    schema = job.given_schema
    if schema is not None and isinstance(schema.entries, str):
        yield Location.named(schema.entries), _access("read", "", "the schema entries", exact=True)
    yield from _of_output(job)


def _of_output(job: Job) -> Iterator[tuple[Location, Access]]:
    lightly, state = _folder(job.lightly_location), _folder(job.state_location)
    # Stores say that an object is missing only to those who may list the bucket; else it is forbidden.
    missing = "documents are listed, and a missing object is told from a forbidden one"
    yield lightly, _access("list", None, missing)
    yield state, _access("list", None, "the state folder is listed, and what is missing in it told apart")
    yield lightly, _access("read", DOCUMENTS, "schema.json, and documents that others wrote")
    yield lightly, _access("write", DOCUMENTS, "documents and schema.json")
    for reason in _deletes(job):
        yield lightly, _access("delete", DOCUMENTS, reason)
    if job.state is not None:
        yield lightly, _access("delete", PROBE, "a probe of conditional writes is removed")
    yield state, _access("read", "", "ledger, lease and reports")
    yield state, _access("write", "", "ledger, lease and reports")
    yield state, _access("delete", "", "the lease is given back, and old runs are deleted")


def _deletes(job: Job) -> Iterator[str]:
    """Why documents are deleted; nothing where they never are."""
    if job.policy.delete == "orphans":
        yield "policy.delete: orphans"
    if any(source.frame is not None or source.table is None for source in job.sources):
        yield "frame documents under an old number of digits"
    if job.backup is not None:
        yield "a rollback deletes what the run created"


def reads_media(job: Job) -> bool:
    """Whether the job has to read what is below its input, and not only to list it."""
    return _may_read_media(job) or any(each.headers for each in asked_of_objects(job))


def _may_read_media(job: Job) -> bool:
    return any(source.frame is not None or source.table is None for source in job.sources)


def _tables(job: Job) -> Iterator[Location]:
    owners: list[Source | Table] = [*job.sources, *job.tables.values()]
    for owner in owners:
        if owner.table is not None:
            yield owner.location
        elif owner.given is not None and isinstance(owner.given.value, Location):
            yield owner.given.value


def _of_table(location: Location) -> Iterator[tuple[Location, Access]]:
    """A glob is listed from its first wildcard on, a folder as a whole. Of a file the entry is, which has the
    hash that what was read is compared with."""
    split = bucket_and_key(location.url)
    key = "" if split is None else split[2]
    if is_glob(key):
        start = re.split(r"[*?\[{]", key, maxsplit=1)[0]
        below = location.model_copy(update={"url": location.url.removesuffix(key) + start})
        yield below, _access("list", "", "the tables are listed")
        yield below, _access("read", "", "the tables")
    elif not key or key.endswith("/"):
        yield location, _access("list", "", "the tables are listed")
        yield location, _access("read", "", "the tables")
    else:
        yield location, _access("list", "", "what is read of a table is compared with its hash", exact=True)
        yield location, _access("read", "", "the tables", exact=True)


@dataclass(frozen=True, slots=True)
class _BucketPath:
    store: Store
    bucket: str
    prefix: str
    account: str = ""


def _place(location: Location, job: Job) -> _BucketPath | None:
    """Where a location is; None where it is in none of the three clouds."""
    scheme, rest = split_scheme(location.url)
    store = "azure" if is_blob_url(scheme, rest) else SCHEMES.get(scheme)
    split = bucket_and_key(location.url)
    if split is None or store not in ("s3", "gcs", "azure"):
        return None
    _, bucket, key = split
    if store != "azure":
        return _BucketPath("s3" if store == "s3" else "gcs", bucket, key)
    _, _, named = azure_location(rest, location.shown)
    account = named.get("account_name") or job.storage_options(location).get("account_name") or ""
    return _BucketPath("azure", bucket, key, str(account))


def _access(verb: Verb, prefix: str | None, why: str, *, exact: bool = False) -> Access:
    return Access("s3", "", verb, prefix, why, exact)


def _folder(location: Location) -> Location:
    """The same with a `/` at its end, so that what is below it is meant, and no neighbour."""
    split = bucket_and_key(location.url)
    if split is None or not split[2] or location.url.endswith("/"):
        return location
    return location.model_copy(update={"url": f"{location.url}/"})


def _joined(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name


def _each_once(found: list[Access]) -> list[Access]:
    """Without those that another one covers, whose reason it takes over."""
    kept: list[Access] = []
    for each in found:
        if any(other.covers(each) and not (each.covers(other)) for other in found):
            continue
        if not any(other.covers(each) for other in kept):
            reasons = [other.why for other in found if each.covers(other)]
            kept.append(replace(each, why="; ".join(dict.fromkeys(reasons))))
    return kept
