"""What a bucket and its credentials say of themselves, through the client of its fsspec library.

Only reads, and one delete that cannot succeed (`may_delete`). Each fact is asked for on its own: the right to
read one of them is no right to read another. Errors are reduced to status and code, never to their text.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from metaferry.errors import Denied, StorageError
from metaferry.lightly.names import DOCUMENTS
from metaferry.storage.errors import Failure, Operation, storage_error
from metaferry.urls import SCHEMES, azure_location, is_blob_url, split_bucket, split_scheme
from metaferry.view.doctor.model import Measured
from metaferry.view.doctor.rights import StoreLocation
from metaferry.view.doctor.store import impossible_token

#: Codes that say that a bucket has no such setting.
_NOT_SET: Final = frozenset(
    {"NoSuchLifecycleConfiguration", "ServerSideEncryptionConfigurationNotFoundError", "NoSuchBucketPolicy"}
)


@dataclass(slots=True)
class Facts:
    """What was read. `skew` is seconds by which the clock of this machine is ahead of the store's."""

    identity: Measured[str]
    skew: Measured[float]
    encryption: Measured[str]
    versioning: Measured[str]
    lifecycle: Measured[str]


def place_of(url: str, shown: str) -> StoreLocation:
    """Where the datasource at a URL is."""
    scheme, rest = split_scheme(url)
    kind = "azure" if is_blob_url(scheme, rest) else SCHEMES.get(scheme, scheme)
    if kind in ("s3", "gcs"):
        bucket, prefix = split_bucket(rest, shown)
        return StoreLocation(kind, shown, bucket, prefix)
    if kind == "azure":
        bucket, prefix, _ = azure_location(rest, shown)
        return StoreLocation(kind, shown, bucket, prefix)
    return StoreLocation(kind, shown)


async def facts(
    place: StoreLocation, url: str, options: Mapping[str, Any], now: Callable[[], datetime]
) -> Facts:
    """Asks the store; everything is skipped where it is none of the three clouds."""
    opened = {"s3": _s3, "gcs": _gcs, "azure": _azure}.get(place.store)
    if opened is None:
        local = place.store == "local"
        why = "a local folder has none" if local else f"not asked of {place.store} stores"
        return Facts(*(Measured(skipped=why) for _ in range(5)))
    async with contextlib.AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(opened(place, url, options, now))
        except Exception as error:  # noqa: BLE001 - whatever the library raises
            failed = _error(place, "list", Failure(code=type(error).__name__))
            return Facts(*(Measured(error=failed) for _ in range(5)))
        return Facts(
            await _asked(place, client.failure, client.identity),
            await _asked(place, client.failure, client.skew),
            await _asked(place, client.failure, client.encryption),
            await _asked(place, client.failure, client.versioning),
            await _asked(place, client.failure, client.lifecycle),
        )


async def may_delete_on_s3(place: StoreLocation, options: Mapping[str, Any], name: str) -> bool:
    """Whether documents may be deleted: under a token that nothing has, so that a bucket with versions gets
    no delete marker for a key that is not there. Raises the StorageError of an answer that does not tell."""
    key = f"{place.prefix}{DOCUMENTS}.metaferry-doctor-{name}"

    async with _s3(place, place.url, options, _never) as client:
        try:
            token = f'"{impossible_token(place.store)}"'
            await client.fs._call_s3("delete_object", Bucket=place.bucket, Key=key, IfMatch=token)
        except Exception as error:  # noqa: BLE001 - s3fs, botocore and aiohttp have no common class
            failure = client.failure(error)
            if failure.status == 403:
                return False
            if failure.status in (404, 412) and failure.code != "NoSuchBucket":
                return True
            raise _error(place, "delete", failure) from None
    return True


def _never() -> datetime:
    raise AssertionError("the clock is not needed")


@dataclass(slots=True)
class _Client:
    """The questions of one cloud. `failure` reduces an error of its library."""

    fs: Any
    failure: Callable[[BaseException], Failure]
    identity: Callable[[], Awaitable[str]]
    skew: Callable[[], Awaitable[float]]
    encryption: Callable[[], Awaitable[str]]
    versioning: Callable[[], Awaitable[str]]
    lifecycle: Callable[[], Awaitable[str]]


class _Skipped(Exception):
    """Why a fact cannot be asked for here."""


async def _asked(
    place: StoreLocation, failure: Callable[[BaseException], Failure], ask: Callable[[], Awaitable[Any]]
) -> Measured[Any]:
    try:
        return Measured(await ask())
    except _Skipped as why:
        return Measured(skipped=str(why))
    except StorageError as error:
        return Measured(error=error)
    except Exception as error:  # noqa: BLE001 - whatever the library raises
        found = failure(error)
        return Measured("none") if found.code in _NOT_SET else Measured(error=_error(place, "list", found))


def _error(place: StoreLocation, operation: Operation, failure: Failure) -> StorageError:
    known: Any = place.store
    return storage_error(failure, store=known, url=place.url, operation=operation)


def _ahead(date: str | None, began: datetime, ended: datetime) -> float:
    """Seconds by which this clock is ahead of a Date header, at the middle of the request."""
    if not date:
        raise _Skipped("the answer had no Date")
    try:
        sent = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        raise _Skipped("the Date of the answer cannot be read") from None
    return (began + (ended - began) / 2 - sent).total_seconds() - 0.5  # Date has whole seconds, cut off


# -- S3


@contextlib.asynccontextmanager
async def _s3(
    place: StoreLocation, url: str, options: Mapping[str, Any], now: Callable[[], datetime]
) -> AsyncIterator[_Client]:
    from metaferry.storage.s3.adapter import s3_failure
    from metaferry.storage.s3.client import file_system

    given = {key: value for key, value in options.items() if key != "follow_redirects"}
    fs = file_system(given, 4)
    await fs.set_session()

    async def ask(method: str, **more: Any) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = await fs._call_s3(method, Bucket=place.bucket, **more)
        return answer

    async def identity() -> str:
        if given.get("anon"):
            return "nobody (anon: true)"
        found = fs.s3._request_signer._credentials
        if found is None:
            raise _error(place, "list", Failure(code="NoCredentials", kind=Denied))
        keys = await found.get_frozen_credentials()
        origin = "explicit" if given.get("key") else found.method
        kind = f"access key …{keys.access_key[-4:]}, from {_ORIGINS.get(origin, origin)}"
        if fs.endpoint_url or (given.get("client_kwargs") or {}).get("endpoint_url"):
            return kind  # STS is AWS's alone
        return f"{await _arn(fs, keys) or 'unknown to STS'} ({kind})"

    async def skew() -> float:
        began = now()
        try:
            answer = await ask("list_objects_v2", Prefix=place.prefix, MaxKeys=1)
        except Exception as error:
            answer = getattr(error.__cause__, "response", None) or getattr(error, "response", None) or {}
            if not answer:
                raise
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return _ahead(headers.get("date"), began, now())

    async def encryption() -> str:
        answer = await ask("get_bucket_encryption")
        rules = answer["ServerSideEncryptionConfiguration"]["Rules"]
        kinds = {rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", "") for rule in rules}
        return " ".join(sorted(kinds - {""})) or "none"

    async def versioning() -> str:
        return str((await ask("get_bucket_versioning")).get("Status") or "off").lower()

    async def lifecycle() -> str:
        rules = (await ask("get_bucket_lifecycle_configuration")).get("Rules", ())
        return _rules(sum(rule.get("Status") == "Enabled" for rule in rules))

    try:
        yield _Client(fs, s3_failure, identity, skew, encryption, versioning, lifecycle)
    finally:
        await fs._s3creator.__aexit__(None, None, None)


#: How botocore names where credentials come from.
_ORIGINS: Final = {
    "explicit": "the job's options",
    "env": "the environment",
    "shared-credentials-file": "a profile",
    "config-file": "a profile",
    "iam-role": "the identity of the machine",
    "container-role": "the identity of the container",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "web identity",
    "sso": "single sign-on",
}


async def _arn(fs: Any, keys: Any) -> str:
    """Whose credentials they are, by STS, which needs no right; "" where it cannot be reached."""
    from aiobotocore.config import AioConfig
    from botocore.exceptions import BotoCoreError, ClientError

    given = {
        "aws_access_key_id": keys.access_key,
        "aws_secret_access_key": keys.secret_key,
        "aws_session_token": keys.token,
        "config": AioConfig(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 1}),
    }
    region = fs.s3.meta.region_name or ""
    region = region if "-" in region else "us-east-1"
    try:
        async with fs.session.create_client("sts", region_name=region, **given) as sts:
            return str((await sts.get_caller_identity())["Arn"])
    except (BotoCoreError, ClientError, OSError):
        return ""


# -- Google Cloud Storage


@contextlib.asynccontextmanager
async def _gcs(
    place: StoreLocation, url: str, options: Mapping[str, Any], now: Callable[[], datetime]
) -> AsyncIterator[_Client]:
    import asyncio

    from metaferry.storage.gcs.client import file_system

    given = {key: value for key, value in options.items() if key != "follow_redirects"}
    fs = await asyncio.to_thread(file_system, given)
    await fs._set_session()
    bucket: dict[str, Any] = {}

    def failure(error: BaseException) -> Failure:
        code = getattr(error, "code", None)
        if isinstance(code, int) or (isinstance(code, str) and code.isdigit()):
            return Failure(int(code))
        text = str(error)
        if isinstance(error, PermissionError) or text.startswith("Forbidden"):
            return Failure(403)
        return Failure(404 if isinstance(error, FileNotFoundError) else None, type(error).__name__)

    async def described() -> dict[str, Any]:
        if not bucket:
            fields = "versioning,lifecycle,encryption,softDeletePolicy,name"
            bucket.update(await fs._call("GET", "b/{}", place.bucket, fields=fields, json_out=True))
        return bucket

    async def identity() -> str:
        credentials = fs.credentials.credentials
        if credentials is None:
            return "nobody (token: anon)"
        email = getattr(credentials, "service_account_email", None)
        kind = type(credentials).__module__.rpartition(".")[2] + " credentials"
        return f"{email} ({kind})" if email else kind

    async def skew() -> float:
        began = now()
        headers, _ = await fs._call("GET", "b/{}/o", place.bucket, prefix=place.prefix, maxResults=1)
        return _ahead(headers.get("Date"), began, now())

    async def encryption() -> str:
        key = (await described()).get("encryption", {}).get("defaultKmsKeyName")
        return "a customer's key" if key else "none"

    async def versioning() -> str:
        found = await described()
        soft = int((found.get("softDeletePolicy") or {}).get("retentionDurationSeconds") or 0)
        words = "enabled" if found.get("versioning", {}).get("enabled") else "off"
        return f"{words}, soft delete for {soft // 86_400} days" if soft else words

    async def lifecycle() -> str:
        return _rules(len((await described()).get("lifecycle", {}).get("rule", ())))

    try:
        yield _Client(fs, failure, identity, skew, encryption, versioning, lifecycle)
    finally:
        if fs._session is not None:
            await fs._session.close()


# -- Azure


@contextlib.asynccontextmanager
async def _azure(
    place: StoreLocation, url: str, options: Mapping[str, Any], now: Callable[[], datetime]
) -> AsyncIterator[_Client]:
    import asyncio

    from metaferry.storage.azure.client import azure_failure, file_system

    named = azure_location(split_scheme(url)[1], place.url)[2]
    given = {key: value for key, value in {**named, **options}.items() if key != "follow_redirects"}
    fs = await asyncio.to_thread(file_system, given)
    service = fs.service_client

    async def identity() -> str:
        credential = service.credential
        account = service.account_name
        if hasattr(credential, "account_key"):
            return f"the key of the account {account}"
        if credential is None:
            return f"a SAS of the account {account}" if "sig=" in service.url else f"nobody, at {account}"
        return f"{type(credential).__name__} at the account {account}"

    async def skew() -> float:
        found: list[Any] = []
        began = now()
        container = service.get_container_client(place.bucket)
        pages = container.list_blobs(
            name_starts_with=place.prefix or None,
            results_per_page=1,
            retry_total=0,
            raw_response_hook=lambda answer: found.append(answer.http_response.headers.get("date")),
        ).by_page()
        async for _ in pages:
            break
        return _ahead(found[0] if found else None, began, now())

    async def encryption() -> str:
        properties = await service.get_container_client(place.bucket).get_container_properties(retry_total=0)
        scope = getattr(properties.encryption_scope, "default_encryption_scope", None)
        return "none" if scope in (None, "$account-encryption-key") else f"scope {scope}"

    async def versioning() -> str:
        properties = await service.get_service_properties(retry_total=0)
        policy = properties.get("delete_retention_policy")
        soft = policy is not None and policy.enabled
        return f"off as far as it can be read, soft delete for {policy.days} days" if soft else "off"

    async def lifecycle() -> str:
        raise _Skipped("the blob service does not tell; see `az storage account management-policy show`")

    try:
        yield _Client(fs, azure_failure, identity, skew, encryption, versioning, lifecycle)
    finally:
        await service.close()
        if hasattr(fs.credential, "close"):
            await fs.credential.close()


def _rules(number: int) -> str:
    return "none" if not number else f"{number} rule{'s' if number > 1 else ''}"
