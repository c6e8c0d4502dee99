"""The list prices that the package has, and which of them a location has. Pure.

Prices change, and differ by region, class and contract: a job gives its own with `prices`. What is not known
is None, never a guess. Sources:

- S3: requests of the first tier (PUT, COPY, POST, LIST) and of the second (GET, HEAD, tags, "and all other
  requests") as several price comparisons of 2026 give them alike; deletes are free (FAQ of S3).
- Google Cloud Storage: classes A (inserts, lists) and B (gets) for one region and a flat namespace, as its
  page of prices had them on 2026-09-20; deletes are free.
- Azure: which operation is of which class, and that deletes are free, is Microsoft's ("Map each REST
  operation to a price", general-purpose v2); the figures come from a generated file, so they are shown as
  `about`. That of "list and create container" operations, which listings are, was not found, nor that of
  "other" ones, which reads of tags are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from metaferry.job.prices import Prices
from metaferry.planning.price.model import LOCAL, PriceTable
from metaferry.storage.azure.connection_string import connection_parts
from metaferry.urls import split_scheme

S3: Final = PriceTable(
    "S3 Standard, us-east-1", put=0.005, list=0.005, get=0.0004, delete=0.0, tags=0.0004, as_of="2026"
)
GCS: Final = PriceTable(
    "Google Cloud Storage Standard, us-central1, flat namespace",
    put=0.005,
    list=0.005,
    get=0.0004,
    delete=0.0,
    as_of="2026-09-20",
)
AZURE: Final = PriceTable(
    "Azure Blob Storage, East US, hot, LRS", put=0.0055, get=0.00044, delete=0.0, as_of="2026", sure=False
)

#: Schemes whose objects are of this machine, or of this process.
_OURS: Final = frozenset({"", "file", "local", "memory"})
#: What an Azure account's own host ends with.
_AZURE_HOST: Final = ".core.windows.net"


def store_name(url: str) -> str:
    """The store of a URL without credentials: `s3://bucket`, `https://host`, `local files`."""
    scheme, path = split_scheme(url)
    if scheme in _OURS:
        return LOCAL
    return f"{scheme}://{path.partition('/')[0]}"


def prices_of(
    url: str, options: Mapping[str, Any], environ: Mapping[str, str], given: Prices | None
) -> PriceTable | None:
    """The prices of the store at a URL with its fsspec options; None where no price is known.

    What a job gives goes over the table, for every store but local files. A store with an endpoint of its own
    speaks a cloud's protocol and has other prices.
    """
    scheme, path = split_scheme(url)
    if scheme in _OURS:
        return None
    table = _listed(scheme, path.partition("/")[0], options, environ)
    return table if given is None else _given(given, table)


def _listed(
    scheme: str, bucket: str, options: Mapping[str, Any], environ: Mapping[str, str]
) -> PriceTable | None:
    client = options.get("client_kwargs")
    endpoint = options.get("endpoint_url") or (isinstance(client, Mapping) and client.get("endpoint_url"))
    if scheme in ("s3", "s3a"):
        own = endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        return None if own or bucket.endswith("--x-s3") else S3  # directory buckets have other prices
    if scheme in ("gs", "gcs"):
        return None if endpoint or environ.get("STORAGE_EMULATOR_HOST") else GCS
    if scheme in ("az", "abfs", "abfss"):
        return None if endpoint or _is_other_azure(options, environ) else AZURE
    return None


def _is_other_azure(options: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Whether the account is at a host that is not Azure's own: an emulator, a gateway, another cloud."""
    host = options.get("account_host")
    if host is not None and not str(host).partition(":")[0].endswith(_AZURE_HOST):
        return True
    text = options.get("connection_string") or environ.get("AZURE_STORAGE_CONNECTION_STRING") or ""
    parts = connection_parts(str(text))
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        return True
    blob = parts.get("blobendpoint", "")
    return bool(blob) and _AZURE_HOST not in blob


def _given(given: Prices, table: PriceTable | None) -> PriceTable:
    """The job's prices, over those of the table where both are in one currency."""
    same = table is not None and table.currency == given.currency

    def price(kind: str) -> float | None:
        value: float | None = getattr(given, kind)
        if value is not None or table is None or not same:
            return value
        listed: float | None = getattr(table, kind)
        return None if listed is None else listed / table.per * given.per

    kinds = ("put", "list", "get", "delete", "tags")
    mixed = table if same and any(getattr(given, kind) is None for kind in kinds[:4]) else None
    return PriceTable(
        "prices of the job" if mixed is None else f"prices of the job over {mixed.name}",
        **{kind: price(kind) for kind in kinds},
        currency=given.currency,
        per=given.per,
        as_of="" if mixed is None else mixed.as_of,
        sure=mixed is None or mixed.sure,
    )
