"""The digest of a job: what decides its documents, and nothing else. Pure.

A key that came later is in it where it says something, so that the digest of a job without it stays what it
was, and a plan or a ledger of before still belongs to the job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from metaferry.job.parts import Location
from metaferry.job.sources import Source
from metaferry.job.tables import Table
from metaferry.urls import redact

if TYPE_CHECKING:
    from metaferry.job.model import Job

#: Options that say which store is meant; they are part of the digest, all others are not.
_ADDRESSING: Final = ("endpoint_url", "account_name", "account_host", "host", "port", "protocol")


def digest_of(job: Job) -> str:
    """SHA-256 (hex) over the addresses, tables, mappings, schema and policy of a job."""
    decides = {
        "input": _address(job, job.input),
        "lightly": _address(job, job.lightly_location),
        "media": job.media.model_dump(mode="json", exclude={"inventory"})
        | ({"inventory": _address(job, job.media.inventory)} if job.media.inventory else {}),
        "sources": [source.for_digest() | _read(job, source) for source in job.sources],
        **_tables(job),
        "schema": _schema(job),
        "policy": {"unmatched": job.policy.unmatched, "delete": job.policy.delete},
        **({"compact": True} if job.compact else {}),
    }
    text = json.dumps(decides, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _read(job: Job, owner: Source | Table) -> dict[str, Any]:
    """Where the rows come from: a table's address, or what the reader's key says."""
    if owner.given is not None:
        key, value = owner.given
        return {key: value.for_digest(lambda location: _address(job, location))}
    return {"table": _address(job, owner.location)} if owner.table is not None else {}


def _tables(job: Job) -> dict[str, Any]:
    """Jobs without tables have the digest that they had before there were any."""
    tables = {name: table.for_digest() | _read(job, table) for name, table in job.tables.items()}
    return {"tables": tables} if tables else {}


def _schema(job: Job) -> Any:
    schema = job.given_schema
    if schema is None or not isinstance(schema.entries, str):
        dumped = job.model_dump(mode="json", include={"schema_"})
        given = dumped["schema_"]
        if isinstance(given, dict) and given.get("widen") is False:
            del given["widen"]  # as jobs were before there was such a key
        return dumped
    url = redact(schema.entries)
    return {"schema_": url if isinstance(job.schema_, str) else {"entries": url, "exact": schema.exact}}


def _address(job: Job, location: Location) -> dict[str, str]:
    options = job.storage_options(location)
    client = options.get("client_kwargs")
    if isinstance(client, Mapping):
        options = {**client, **options}
    named = {name: str(options[name]) for name in _ADDRESSING if options.get(name) is not None}
    return {"url": redact(location.url).rstrip("/"), **named}
