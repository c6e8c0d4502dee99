"""fsspec's options in the words of the libraries that open tables themselves. Pure functions.

Delta's library reads through object_store, Iceberg's through fsspec with names of its own. An option
without an equivalent is an error that names it: otherwise a table would be read with other rights than were
meant. No message shows a value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from metaferry.errors import JobError

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
_S3_ICEBERG: Final = {
    "key": "s3.access-key-id",
    "secret": "s3.secret-access-key",
    "token": "s3.session-token",
    "endpoint_url": "s3.endpoint",
    "region_name": "s3.region",
    "profile": "s3.profile-name",
    "aws_access_key_id": "s3.access-key-id",
    "aws_secret_access_key": "s3.secret-access-key",
    "aws_session_token": "s3.session-token",
}
_GCS_ICEBERG: Final = {
    "token": "gcs.oauth2.token",
    "project": "gcs.project-id",
    "endpoint_url": "gcs.service.host",
    "access": "gcs.access",
}
_AZURE_ICEBERG: Final = {
    "account_name": "adls.account-name",
    "account_key": "adls.account-key",
    "sas_token": "adls.sas-token",
    "tenant_id": "adls.tenant-id",
    "client_id": "adls.client-id",
    "client_secret": "adls.client-secret",
    "connection_string": "adls.connection-string",
    "account_host": "adls.account-host",
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
        found = {_AZURE[key]: str(given.pop(key)) for key in list(given) if key in _AZURE}
        if given.pop("anon", False) is True:
            found["AZURE_SKIP_SIGNATURE"] = "true"
        _refuse_rest(given, "Delta", place)
        return found
    _refuse_rest(given, "Delta", place)
    return {}


def for_iceberg(scheme: str, options: Mapping[str, Any], place: str) -> dict[str, str]:
    """The same as Iceberg's library takes them."""
    store = _STORES.get(scheme, "")
    given = _flat(options)
    names = {"s3": _S3_ICEBERG, "gcs": _GCS_ICEBERG, "azure": _AZURE_ICEBERG}.get(store, {})
    found = {}
    for key in list(given):
        if key in names and isinstance(given[key], str):
            found[names[key]] = given.pop(key)
    anon = given.pop("anon", None)
    if anon is not None and store in ("s3", "azure"):
        found["s3.anonymous" if store == "s3" else "adls.anon"] = "true" if anon else "false"
    if store == "s3" and _addressing(given) == "virtual":
        found["s3.force-virtual-addressing"] = "true"
    _refuse_rest(given, "Iceberg", place)
    return found


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
    _refuse_rest(given, "Delta", place)
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
    _refuse_rest(given, "Delta", place)
    return found


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


def _refuse_rest(given: Mapping[str, Any], what: str, place: str) -> None:
    if given:
        name = sorted(given)[0]
        raise JobError(
            f"the option {name} has no equivalent in the library that reads {what} tables",
            place=f"{place}.options.{name}",
            advice="leave it out for this table, or give credentials by the environment",
        )
