"""Amazon S3 and compatible stores, through s3fs's own client.

s3fs gives options, credentials, sessions and its calls of single requests; its retries, caches and path
rules are not used: keys go to the API exactly as they are. Every request is one attempt. A bucket is never
created. Where a store does not support conditional writes, the precondition is checked just before an
unconditional put, and `capabilities` say so from then on.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from metaferry.errors import (
    Corrupt,
    Denied,
    Expired,
    NotFound,
    StorageError,
    Unavailable,
    Unsupported,
)
from metaferry.storage.answers import BadAnswer, bad_answer, require
from metaferry.storage.base import ObjectStoreAdapter
from metaferry.storage.errors import Failure, Operation, retry_after
from metaferry.storage.facts.model import UNREADABLE_HEADERS, Described, Fact
from metaferry.storage.keys import byte_range, content_type, md5_hex
from metaferry.storage.protocol import (
    ABSENT,
    ANYTHING,
    Blob,
    Capabilities,
    Level,
    Page,
    Precondition,
    PutResult,
)
from metaferry.storage.s3.answers import (
    NO_TAGS,
    blob_of,
    described,
    is_encrypted,
    level_of,
    page_of,
    require_own,
    tag_of,
)
from metaferry.storage.s3.client import file_system

#: Codes with which servers without conditional writes refuse one; an unconditional put then shows whether
#: the condition was the reason.
_NO_CONDITIONS: Final = frozenset(
    {"NotImplemented", "InvalidArgument", "InvalidRequest", "UnsupportedHeader", "BadRequest"}
)


class S3Adapter(ObjectStoreAdapter):
    """Options are s3fs's."""

    store = "s3"
    tokens_are_md5s = True
    conditions_optional = True
    listed_facts = frozenset[Fact](("etag", "storage_class"))
    has_tags = True

    @staticmethod
    def _capabilities_of(bucket: str, prefix: str) -> Capabilities:
        known = ObjectStoreAdapter._capabilities_of(bucket, prefix)
        # Directory buckets list in no order and support no start key.
        ordered = not bucket.endswith("--x-s3")
        return replace(known, conditions_vary=True, delete_looks=True, start_key=ordered)

    def refuses_conditions(self, error: StorageError) -> bool:
        return error.status in (405, 501) or error.code in _NO_CONDITIONS

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        wanted: dict[str, Any] = {"Prefix": self._prefix + prefix, "MaxKeys": self._page_size}
        if cursor is not None:
            wanted["ContinuationToken"] = cursor
        elif start_after:
            wanted["StartAfter"] = self._prefix + start_after
        answer = await self._call("list_objects_v2", "list", prefix, wanted)
        with self.checking("list", prefix):
            return page_of(answer, wanted["Prefix"], len(self._prefix), facts=self._lists_facts)

    async def list_level(self, prefix: str) -> Level | None:
        wanted = {"Prefix": self._prefix + prefix, "MaxKeys": self._page_size, "Delimiter": "/"}
        answer = await self._call("list_objects_v2", "list", prefix, wanted)
        with self.checking("list", prefix):
            return level_of(answer, str(wanted["Prefix"]), len(self._prefix), facts=self._lists_facts)

    async def describe(self, path: str) -> Described:
        answer = await self._call("head_object", "read", path, {"Key": path})
        with self.checking("read", path):
            return described(_headers(answer))

    async def tags(self, path: str) -> Mapping[str, str]:
        try:
            answer = await self._call("get_object_tagging", "tags", path, {"Key": path})
        except NotFound as error:
            if error.code in NO_TAGS:
                return {}
            raise
        with self.checking("tags", path):
            require(isinstance(answer.get("TagSet"), list), "no tags")
            try:
                return dict(sorted((tag["Key"], tag["Value"]) for tag in answer["TagSet"]))
            except (KeyError, TypeError):
                raise BadAnswer("a tag without name or value") from None

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        wanted = only_if
        if not self.capabilities.honours(only_if):
            self.require(await self._token(path), only_if, "put", path)
            wanted = ANYTHING
        try:
            with self.missing_is_conflict(path, wanted):
                headers = await self._put(path, data, wanted)
        except StorageError as error:
            if wanted is ANYTHING or not self.refuses_conditions(error):
                raise
            self.require(await self._token(path), only_if, "put", path)
            headers = await self._put(path, data, ANYTHING)  # raises where that was not it
            self.detected.refused(only_if)
        token = tag_of(headers) or await self._tag_in_place(path, data)
        return self.detected.put_result(token, md5_hex(data), encrypted=is_encrypted(headers))

    # -- requests

    async def _connect(self) -> Any:
        try:
            return file_system(
                self._options,
                self._concurrency,
                follow_redirects=self._follow_redirects,
                classes=lambda: self._lists_facts,
            )
        except (TypeError, KeyError):  # an option unknown to s3fs and its session
            raise ValueError("options") from None

    def _closing(self, client: Any) -> Iterable[Awaitable[object]]:
        if client._s3 is not None:
            yield client._s3creator.__aexit__(None, None, None)

    async def _read(self, path: str, start: int, end: int | None, version: str | None) -> Blob:
        wanted = byte_range(start, end)
        ranged = {} if wanted is None else {"Range": wanted}
        pinned = _condition(ANYTHING if version is None else version)
        answer = await self._call("get_object", "read", path, {"Key": path, **ranged, **pinned})
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        return blob_of(status, _headers(answer), answer["Body"], start, end)

    async def _head(self, path: str, version: str | None = None) -> Blob:
        pinned = _condition(ANYTHING if version is None else version)
        answer = await self._call("head_object", "read", path, {"Key": path, **pinned})
        return Blob(b"", tag_of(_headers(answer)), int(answer["ContentLength"]))

    async def _delete(self, path: str, only_if: Precondition) -> None:
        condition: dict[str, str] = {}
        if isinstance(only_if, str):
            # Not every store that honours the header for a put does so for a delete.
            token = await self._token(path)
            if token is None:
                return
            self.require(token, only_if, "delete", path)
            if self.capabilities.honours(only_if):
                condition = _condition(only_if)
        try:
            await self._call("delete_object", "delete", path, {"Key": path, **condition})
        except StorageError as error:
            if not condition or not self.refuses_conditions(error):
                raise
            await self._call("delete_object", "delete", path, {"Key": path})

    async def _put(self, path: str, data: bytes, only_if: Precondition) -> Mapping[str, str]:
        """The headers of the answer."""
        config = self._options.get("config_kwargs") or {}
        if config.get("request_checksum_calculation") == "when_required":
            # The job says that this store does not support the newer checksums.
            check = {"ContentMD5": base64.b64encode(bytes.fromhex(md5_hex(data))).decode()}
        else:
            check = {"ChecksumCRC32": base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()}
        wanted = {"Key": path, "Body": data, "ContentType": content_type(path), **check}
        return _headers(await self._call("put_object", "put", path, {**wanted, **_condition(only_if)}))

    async def _tag_in_place(self, path: str, data: bytes) -> str:
        """The token ("" on a store without them) of an object whose put was answered without one."""
        try:
            blob = await self.read(path)
        except NotFound:
            raise self.error(bad_answer("no ETag, and no object in place"), "put", path) from None
        with self.checking("put", path):
            require(blob.data == data, "no ETag, and a different object in place")
        return blob.token

    async def _call(self, method: str, operation: Operation, path: str, wanted: Mapping[str, Any]) -> Any:
        """One request. `Key` is relative to the prefix; an answer's Body is read to its end."""
        import aiohttp
        from botocore.exceptions import BotoCoreError, ClientError

        if "Key" in wanted:
            self._require_addressable(operation, path)
            wanted = {**wanted, "Key": self._prefix + wanted["Key"]}
        try:
            fs = await self._session()
            return await self._answer(fs, method, wanted)
        except (
            BotoCoreError,
            ClientError,
            aiohttp.ClientError,
            OSError,  # what s3fs makes of a ClientError, and TimeoutError
            ValueError,  # an endpoint_url that is no URL
        ) as error:
            failure = s3_failure(error)
            if failure.code == UNREADABLE_HEADERS and operation == "read":  # user metadata that is not UTF-8
                failure = replace(failure, kind=Unsupported)
            raise self.error(failure, operation, path) from None
        except BadAnswer as error:
            raise self.error(error.failure, operation, path) from None

    async def _answer(self, fs: Any, method: str, wanted: Mapping[str, Any]) -> Any:
        from botocore.parsers import ResponseParserError

        try:
            answer = await fs._call_s3(method, Bucket=self._bucket, **wanted)
            if "Body" in answer:
                async with answer["Body"] as stream:
                    answer["Body"] = await stream.read()
        except UnicodeError:  # a lone surrogate in a key
            raise
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            ResponseParserError,
        ):  # such as a field that is no number
            raise BadAnswer("it cannot be parsed") from None
        require_own(answer, method)
        return answer

    async def _session(self) -> Any:
        fs = await self._connected()
        try:
            await fs.set_session()
        except TypeError:  # an option unknown to botocore
            raise ValueError("options") from None
        return fs


def _condition(only_if: Precondition) -> dict[str, str]:
    """As a parameter of botocore's."""
    if isinstance(only_if, str):
        return {"IfMatch": f'"{only_if}"'}
    return {"IfNoneMatch": "*"} if only_if is ABSENT else {}


def _headers(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """Of one of botocore's, names in small letters."""
    headers: Mapping[str, str] = answer["ResponseMetadata"]["HTTPHeaders"]
    return headers


def s3_failure(error: BaseException) -> Failure:
    """Status and code of what s3fs, botocore or aiohttp raised; never its text.

    s3fs's errno is misleading (SlowDown is EBUSY, 429 is EIO), so the response behind it is used.
    """
    from botocore import exceptions as boto

    for candidate in (error, error.__cause__):
        response = getattr(candidate, "response", None)
        if isinstance(response, dict):
            return _response_failure(response)
    name = type(error).__name__
    expired = (boto.UnauthorizedSSOTokenError, boto.SSOTokenLoadError, boto.TokenRetrievalError)
    missing = (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.ProfileNotFound,
        boto.CredentialRetrievalError,
    )
    transient = (boto.HTTPClientError, boto.IncompleteReadError, boto.ConnectionError)
    if isinstance(error, expired):
        return Failure(code=name, kind=Expired)
    if isinstance(error, missing):
        return Failure(code="NoCredentials", kind=Denied)
    if isinstance(error, boto.HTTPClientError) and isinstance(error.kwargs.get("error"), UnicodeError):
        return Failure(code=UNREADABLE_HEADERS, kind=Unavailable)
    if isinstance(error, (boto.FlexibleChecksumError, boto.ChecksumError)):
        return Failure(code=name, kind=Corrupt)
    if isinstance(error, boto.SSLError) and "certificate" in str(error).lower():
        return Failure(code="CertificateError", kind=Denied)
    if isinstance(error, boto.BotoCoreError) and not isinstance(error, transient):
        return Failure(code=name, kind=Unsupported)
    if isinstance(error, ValueError):
        return Failure(code="InvalidOptions", kind=Unsupported)
    return Failure(code=name, kind=Unavailable)


def _response_failure(response: Mapping[str, Any]) -> Failure:
    metadata = response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode")
    code = str(response.get("Error", {}).get("Code", ""))
    if code.isdigit():  # an answer without a body: botocore repeats the status
        status, code = status or int(code), ""
    return Failure(status, code, retry_after=retry_after(metadata.get("HTTPHeaders", {})))
