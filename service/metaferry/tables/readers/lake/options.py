"""fsspec's options in the words of object_store, through which Delta's library reads. Pure functions.

An option without an equivalent is an error that names it: otherwise a table would be read with other rights
than were meant. No message shows a value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from metaferry.errors import JobError
from metaferry.storage.azure.connection_string import connection_parts

#: Options of fsspec's file systems that mean nothing to a reader of tables: how they are cached and paged.
_MEANINGLESS: Final = frozenset(
    {
        "asynchronous",
        "cache_regions",
        "default_block_size",
        "default_cache_type",
        "default_fill_cache",
        "listings_expiry_time",
        "max_concurrency",
        "skip_instance_cache",
        "use_listings_cache",
        "version_aware",
    }
)
#: What object_store calls fsspec's options: https://docs.rs/object_store (AmazonS3ConfigKey and its likes).
_S3: Final = {
    "key": "AWS_ACCESS_KEY_ID",
    "secret": "AWS_SECRET_ACCESS_KEY",
    "token": "AWS_SESSION_TOKEN",
    "endpoint_url": "AWS_ENDPOINT_URL",
    "region_name": "AWS_REGION",
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
}
_AZURE: Final = {
    "account_name": "AZURE_STORAGE_ACCOUNT_NAME",
    "account_key": "AZURE_STORAGE_ACCOUNT_KEY",
    "sas_token": "AZURE_STORAGE_SAS_KEY",
    "tenant_id": "AZURE_STORAGE_TENANT_ID",
    "client_id": "AZURE_STORAGE_CLIENT_ID",
    "client_secret": "AZURE_STORAGE_CLIENT_SECRET",
}
#: Schemes by the store that they mean.
_STORES: Final = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "azure"),
}


def for_object_store(scheme: str, options: Mapping[str, Any], place: str) -> dict[str, str]:
    """The options of a location as Delta's library takes them. Raises JobError for one that it has not."""
    store = _STORES.get(scheme, "")
    given = _flat(options)
    if store == "s3":
        return _s3(given, place)
    if store == "gcs":
        return _gcs(given, place)
    if store == "azure":
        return _azure(given, place)
    _refuse_rest(given, place)
    return {}


def _s3(given: dict[str, Any], place: str) -> dict[str, str]:
    found = {_S3[key]: str(given.pop(key)) for key in list(given) if key in _S3}
    if given.pop("anon", False):
        found["AWS_SKIP_SIGNATURE"] = "true"
    endpoint = found.get("AWS_ENDPOINT_URL", "")
    if endpoint.startswith("http://"):
        found["AWS_ALLOW_HTTP"] = "true"
    if endpoint and "AWS_REGION" not in found:
        found["AWS_REGION"] = "us-east-1"  # as botocore takes it; a server of one's own has none
    given.pop("use_ssl", None)  # the endpoint says it
    if _addressing(given) == "virtual":
        found["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"] = "true"
    _refuse_rest(given, place)
    return found


def _gcs(given: dict[str, Any], place: str) -> dict[str, str]:
    found = {}
    token = given.pop("token", None)
    if token == "anon":
        found["GOOGLE_SKIP_SIGNATURE"] = "true"
    elif isinstance(token, Mapping):
        found["GOOGLE_SERVICE_ACCOUNT_KEY"] = json.dumps(token)
    elif isinstance(token, str) and token.startswith("/"):
        found["GOOGLE_SERVICE_ACCOUNT"] = token
    elif token not in (None, "google_default", "cloud"):
        given["token"] = token
    given.pop("project", None)  # of buckets that are made
    if (endpoint := given.pop("endpoint_url", None)) is not None:
        found |= _at("GOOGLE_BASE_URL", str(endpoint))
    _refuse_rest(given, place)
    return found


def _azure(given: dict[str, Any], place: str) -> dict[str, str]:
    found = {}
    connection = given.get("connection_string")
    if isinstance(connection, str) and (parts := _of_connection(connection)) is not None:
        del given["connection_string"]
        found = parts
    if (host := given.pop("account_host", None)) is not None:
        found |= _at("AZURE_STORAGE_ENDPOINT", f"https://{host}")
    found |= {_AZURE[key]: str(given.pop(key)) for key in list(given) if key in _AZURE}
    if given.pop("anon", False) is True:
        found["AZURE_SKIP_SIGNATURE"] = "true"
    _refuse_rest(given, place)
    return found


def _of_connection(text: str) -> dict[str, str] | None:
    """What a connection string says; None of one without a credential or an account."""
    parts = connection_parts(text)
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        return {"AZURE_STORAGE_USE_EMULATOR": "true"}
    account, endpoint = parts.get("accountname", ""), parts.get("blobendpoint", "")
    if not endpoint and account:
        suffix = parts.get("endpointsuffix", "core.windows.net")
        endpoint = f"{parts.get('defaultendpointsprotocol', 'https')}://{account}.blob.{suffix}"
    # The SDK of Azure takes the account from the address too.
    account = account or endpoint.partition("://")[2].partition(".")[0]
    found = {"AZURE_STORAGE_ACCOUNT_NAME": account, **_at("AZURE_STORAGE_ENDPOINT", endpoint.rstrip("/"))}
    if key := parts.get("accountkey"):
        return {**found, "AZURE_STORAGE_ACCOUNT_KEY": key} if account else None
    if sas := parts.get("sharedaccesssignature"):
        return {**found, "AZURE_STORAGE_SAS_KEY": sas.removeprefix("?")} if account else None
    return None


def _at(name: str, endpoint: str) -> dict[str, str]:
    """An address by this name; one without TLS has to be allowed besides."""
    return {name: endpoint, **({"allow_http": "true"} if endpoint.startswith("http://") else {})}


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with those of `client_kwargs` among them, without the ones that say nothing here."""
    client = options.get("client_kwargs")
    inner = dict(client) if isinstance(client, Mapping) else {}
    both = {**inner, **{key: value for key, value in options.items() if key != "client_kwargs"}}
    return {key: value for key, value in both.items() if value is not None and key not in _MEANINGLESS}


def _addressing(given: dict[str, Any]) -> str:
    """The style of addresses that `config_kwargs` asks for; it is taken out where that is all it says."""
    config = given.get("config_kwargs")
    style = ""
    if isinstance(config, Mapping) and isinstance(config.get("s3"), Mapping):
        style = str(config["s3"].get("addressing_style", ""))
        rest = {key: value for key, value in config.items() if key != "s3"}
        if not rest and set(config["s3"]) <= {"addressing_style"}:
            del given["config_kwargs"]
    elif not config:
        given.pop("config_kwargs", None)
    return style


def _refuse_rest(given: Mapping[str, Any], place: str) -> None:
    if given:
        name = sorted(given)[0]
        raise JobError(
            f"the option {name} has no equivalent in the library that reads Delta tables",
            place=f"{place}.options.{name}",
            advice="leave it out for this table, or give credentials by the environment",
        )
