"""What each library raises, row by row, becomes the right error of ours, without its text."""

from __future__ import annotations

import errno
import json
from types import SimpleNamespace
from typing import Any

import pytest

from metaferry.errors import (
    Changed,
    Conflict,
    Corrupt,
    Denied,
    Expired,
    NotFound,
    Protected,
    Scope,
    StorageError,
    Throttled,
    Unavailable,
    Unsupported,
)
from metaferry.storage.azure.client import azure_failure
from metaferry.storage.codes.azure import AZURE
from metaferry.storage.codes.gcs import GCS
from metaferry.storage.codes.meaning import COMMON
from metaferry.storage.codes.s3 import S3
from metaferry.storage.errors import (
    CODES,
    RIGHTS,
    Failure,
    Operation,
    classify,
    errno_failure,
    storage_error,
)
from metaferry.storage.fsspec_adapter import fsspec_failure
from metaferry.storage.gcs.requests import gcs_failure
from metaferry.storage.s3.adapter import s3_failure

CANARY = "AKIACANARY7SECRET"


def s3_error(status: int, code: str, **headers: str) -> BaseException:
    """As s3fs raises it: an OSError of its own choice, with botocore's error behind it."""
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    response: Any = {
        "Error": {"Code": code, "Message": f"signed by {CANARY}"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return translate_boto_error(ClientError(response, "PutObject"))


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (503, "SlowDown", Throttled),
        (503, "ServiceUnavailable", Unavailable),
        (503, "503", Unavailable),
        (429, "TooManyRequests", Throttled),
        (429, "429", Throttled),
        (500, "InternalError", Unavailable),
        (502, "502", Unavailable),
        (504, "GatewayTimeout", Unavailable),
        (400, "RequestTimeout", Unavailable),
        (408, "408", Unavailable),
        (409, "ConditionalRequestConflict", Unavailable),
        (409, "OperationAborted", Unavailable),
        (400, "BadDigest", Corrupt),
        (400, "XAmzContentSHA256Mismatch", Corrupt),
        (400, "XAmzContentChecksumMismatch", Corrupt),
        (400, "ExpiredToken", Expired),
        (403, "RequestTimeTooSkewed", Expired),
        (401, "401", Expired),
        (403, "AccessDenied", Denied),
        (403, "403", Denied),
        (403, "InvalidAccessKeyId", Denied),
        (403, "SignatureDoesNotMatch", Denied),
        (403, "InvalidObjectState", Protected),
        (400, "ObjectLocked", Protected),
        (403, "QuotaExceeded", Unsupported),
        (409, "BucketAlreadyExists", Unsupported),
        (409, "409", Unsupported),
        (404, "NoSuchKey", NotFound),
        (404, "NoSuchBucket", NotFound),
        (404, "404", NotFound),
        (412, "PreconditionFailed", Conflict),
        (412, "412", Conflict),
        (501, "NotImplemented", Unsupported),
        (501, "501", Unsupported),
        (505, "505", Unsupported),
        (400, "InvalidArgument", Unsupported),
        (400, "KeyTooLongError", Unsupported),
        (301, "PermanentRedirect", Unsupported),
    ],
)
def test_what_s3_answers(status: int, code: str, expected: type[StorageError]) -> None:
    failure = s3_failure(s3_error(status, code))
    assert classify(failure) is expected
    assert failure.status == status
    assert failure.code == ("" if code.isdigit() else code)


def test_s3_names_the_failed_condition_or_not() -> None:
    """s3fs raises FileExistsError for one and OSError for the other: the same thing."""
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    error: Any = {"Code": "PreconditionFailed", "Message": "", "Condition": "If-None-Match"}
    response: Any = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": 412}}
    translated = translate_boto_error(ClientError(response, "PutObject"))
    assert isinstance(translated, FileExistsError)
    assert classify(s3_failure(translated)) is Conflict


def _botocore(name: str, **values: Any) -> BaseException:
    from botocore import exceptions

    made: BaseException = getattr(exceptions, name)(**values)
    return made


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("EndpointConnectionError", {"endpoint_url": f"http://{CANARY}"}, Unavailable),
        ("ConnectionClosedError", {"endpoint_url": "x"}, Unavailable),
        ("ReadTimeoutError", {"endpoint_url": "x"}, Unavailable),
        ("ConnectTimeoutError", {"endpoint_url": "x"}, Unavailable),
        ("ResponseStreamingError", {"error": "x"}, Unavailable),
        ("HTTPClientError", {"error": "x"}, Unavailable),
        ("IncompleteReadError", {"actual_bytes": 1, "expected_bytes": 2}, Unavailable),
        ("SSLError", {"endpoint_url": "x", "error": "certificate verify failed"}, Denied),
        ("SSLError", {"endpoint_url": "x", "error": "unexpected eof"}, Unavailable),
        ("NoCredentialsError", {}, Denied),
        ("PartialCredentialsError", {"provider": "env", "cred_var": "secret"}, Denied),
        ("ProfileNotFound", {"profile": "x"}, Denied),
        ("CredentialRetrievalError", {"provider": "x", "error_msg": CANARY}, Denied),
        ("UnauthorizedSSOTokenError", {}, Expired),
        ("TokenRetrievalError", {"provider": "sso", "error_msg": CANARY}, Expired),
        ("FlexibleChecksumError", {"error_msg": "x"}, Corrupt),
        ("ParamValidationError", {"report": CANARY}, Unsupported),
        ("NoRegionError", {}, Unsupported),
    ],
)
def test_what_botocore_raises_without_an_answer(
    name: str, values: dict[str, Any], expected: type[StorageError]
) -> None:
    failure = s3_failure(_botocore(name, **values))
    assert classify(failure) is expected
    assert CANARY not in repr(failure)


@pytest.mark.parametrize(
    ("status", "reason", "message", "expected"),
    [
        (503, "backendError", "invalid state", Throttled),  # gcsfs would make a ValueError of it
        (500, "internalError", "", Unavailable),
        (429, "rateLimitExceeded", "", Throttled),
        (403, "userRateLimitExceeded", "", Throttled),
        (403, "rateLimitExceeded", "", Throttled),
        (403, "forbidden", "does not have access", Denied),
        (403, "insufficientPermissions", "", Denied),
        (401, "authError", "Invalid Credentials", Expired),
        (401, "required", "Anonymous caller", Expired),
        (404, "notFound", "No such object: b/k", NotFound),
        (404, "notFound", "The specified bucket does not exist.", NotFound),
        (412, "conditionNotMet", "", Conflict),
        (408, "", "", Unavailable),
        (409, "conflict", "", Unsupported),
        (400, "invalid", 'Provided MD5 hash "a" doesn\'t match calculated MD5 hash "b".', Corrupt),
        (400, "invalid", 'Provided CRC32C "a" doesn\'t match calculated CRC32C "b".', Corrupt),
        (400, "invalid", "Invalid value for name: hash.json", Unsupported),
        (400, "invalid", "no hash", Unsupported),
        (403, "forbidden", "Object 'b/k' is under active Temporary hold and cannot be deleted", Protected),
        (403, "forbidden", "Object 'b/k' is under active Event-Based hold and cannot", Protected),
        (403, "objectUnderActiveHold", "", Protected),
        (403, "forbidden", "no access to 'b/is under active Temporary hold'", Denied),
        (403, "retentionPolicyNotMet", "Object 'b/k' is subject to retention policy", Protected),
        (400, "invalid", "Invalid argument", Unsupported),
        (501, "notImplemented", "", Unsupported),
    ],
)
def test_what_gcs_answers(status: int, reason: str, message: str, expected: type[StorageError]) -> None:
    import json

    error = {"code": status, "message": message, "errors": [{"reason": reason}]}
    failure = gcs_failure(status, {"retry-after": "7"}, json.dumps({"error": error}).encode())
    assert classify(failure) is expected
    held = reason == "forbidden" and expected is Protected
    code = "objectUnderActiveHold" if held else reason
    assert (failure.status, failure.code, failure.retry_after) == (status, code, 7.0)
    assert failure.bucket == ("bucket" in message)


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"\xff\xfe", b"[]", b'{"error": "text"}'])
def test_a_gcs_answer_without_json_is_known_by_its_status(body: bytes) -> None:
    assert classify(gcs_failure(502, {}, body)) is Unavailable
    assert classify(gcs_failure(403, {}, body)) is Denied


def azure_error(status: int, code: str, kind: str = "HttpResponseError") -> BaseException:
    from azure.core import exceptions

    response = SimpleNamespace(
        status_code=status, reason="", headers={"x-ms-error-code": code, "retry-after": "3"}
    )
    error: Any = getattr(exceptions, kind)(message=f"sig={CANARY}", response=response)
    error.error_code = code
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("status", "code", "kind", "expected"),
    [
        (503, "ServerBusy", "HttpResponseError", Throttled),
        (429, "TooManyRequests", "HttpResponseError", Throttled),
        (500, "InternalError", "HttpResponseError", Unavailable),
        (500, "OperationTimedOut", "HttpResponseError", Unavailable),
        (400, "Md5Mismatch", "HttpResponseError", Corrupt),
        (403, "AuthenticationFailed", "ClientAuthenticationError", Denied),
        (403, "AuthorizationPermissionMismatch", "HttpResponseError", Denied),
        (401, "InvalidAuthenticationInfo", "ClientAuthenticationError", Expired),
        (404, "BlobNotFound", "ResourceNotFoundError", NotFound),
        (404, "ContainerNotFound", "ResourceNotFoundError", NotFound),
        (409, "ContainerBeingDeleted", "ResourceExistsError", NotFound),
        (409, "BlobAlreadyExists", "ResourceExistsError", Conflict),
        (412, "ConditionNotMet", "ResourceModifiedError", Conflict),
        (412, "LeaseIdMissing", "HttpResponseError", Protected),
        (409, "LeaseIdMismatchWithBlobOperation", "ResourceExistsError", Protected),
        (409, "BlobImmutableDueToPolicy", "ResourceExistsError", Protected),
        (409, "BlobArchived", "ResourceExistsError", Protected),
        (409, "BlobBeingRehydrated", "ResourceExistsError", Protected),
        (409, "SnapshotsPresent", "ResourceExistsError", Protected),
        (409, "InvalidBlobType", "ResourceExistsError", Unsupported),
        (409, "PendingCopyOperation", "ResourceExistsError", Unavailable),
        (409, "SomethingNew", "ResourceExistsError", Unsupported),
        (400, "InvalidResourceName", "HttpResponseError", Unsupported),
    ],
)
def test_what_azure_answers(status: int, code: str, kind: str, expected: type[StorageError]) -> None:
    failure = azure_failure(azure_error(status, code, kind))
    assert classify(failure) is expected
    assert (failure.status, failure.code, failure.retry_after) == (status, code, 3.0)


@pytest.mark.parametrize(
    ("name", "message", "expected"),
    [
        ("ServiceRequestError", "connection reset", Unavailable),
        ("ServiceRequestError", "certificate verify failed", Denied),
        ("ServiceResponseTimeoutError", "timeout", Unavailable),
        ("ServiceResponseError", "closed", Unavailable),
        ("IncompleteReadError", "closed", Unavailable),
        ("ClientAuthenticationError", "no credential worked", Expired),
    ],
)
def test_what_azure_raises_without_an_answer(name: str, message: str, expected: type[StorageError]) -> None:
    from azure.core import exceptions

    error: BaseException = getattr(exceptions, name)(message=message)
    assert classify(azure_failure(error)) is expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOENT, NotFound),
        (errno.EACCES, Denied),
        (errno.EPERM, Denied),
        (errno.EROFS, Denied),
        (errno.EEXIST, Conflict),
        (errno.EIO, Unavailable),
        (errno.ESTALE, Unavailable),
        (errno.EMFILE, Unavailable),
        (errno.ETIMEDOUT, Unavailable),
        (errno.ECONNRESET, Unavailable),
        (errno.ENOSPC, Unsupported),
        (errno.ENAMETOOLONG, Unsupported),
        (errno.EISDIR, Unsupported),
        (errno.ENOTDIR, Unsupported),
    ],
)
def test_what_the_operating_system_says(number: int, expected: type[StorageError]) -> None:
    failure = errno_failure(OSError(number, CANARY, f"/home/{CANARY}"))
    assert classify(failure) is expected
    assert failure.code == errno.errorcode[number]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError("x"), NotFound),
        (PermissionError("x"), Denied),
        (TimeoutError("x"), Unavailable),
        (ConnectionResetError("x"), Unavailable),
        (NotImplementedError("x"), Unsupported),
        (ValueError("x"), Unsupported),
        (RuntimeError("x"), Unavailable),
        (type("HttpError", (Exception,), {"status": 503})(), Unavailable),
        (type("HttpError", (Exception,), {"status_code": 403})(), Denied),
    ],
)
def test_what_any_other_library_raises(error: Exception, expected: type[StorageError]) -> None:
    assert classify(fsspec_failure(error)) is expected


def test_a_failed_condition_on_a_read_means_that_it_was_replaced() -> None:
    failure = Failure(412, "PreconditionFailed")
    assert type(storage_error(failure, store="s3", url="s3://b", operation="read", path="k")) is Changed
    assert type(storage_error(failure, store="s3", url="s3://b", operation="put", path="k")) is Conflict


def test_every_code_names_a_class_of_the_closed_list() -> None:
    closed = {Throttled, Unavailable, Denied, Expired, NotFound, Conflict, Changed, Corrupt, Unsupported}
    closed.add(Protected)
    assert {meaning.kind for meaning in CODES.values()} <= closed
    assert {classify(Failure(status)) for status in range(300, 600)} <= closed
    assert classify(Failure()) is Unavailable


def test_no_word_means_different_things_in_two_stores() -> None:
    tables = (COMMON, S3, GCS, AZURE)
    assert sum(map(len, tables)) == len(CODES)


def scope_of(failure: Failure, operation: Operation = "put", path: str = "a.json") -> Scope:
    return storage_error(failure, store="s3", url="x://y", operation=operation, path=path).scope


@pytest.mark.parametrize(
    ("failure", "scope"),
    [
        (Failure(403, "AccessDenied"), Scope.EITHER),
        (Failure(403, "forbidden"), Scope.EITHER),
        (Failure(403, "AuthorizationPermissionMismatch"), Scope.EITHER),
        (Failure(403), Scope.EITHER),
        (Failure(403, "SomethingNew"), Scope.EITHER),
        (errno_failure(OSError(errno.EACCES, "")), Scope.EITHER),
        (errno_failure(OSError(errno.EPERM, "")), Scope.EITHER),
        (errno_failure(OSError(errno.EROFS, "")), Scope.ALL),
        (Failure(403, "InvalidAccessKeyId"), Scope.ALL),
        (Failure(403, "SignatureDoesNotMatch"), Scope.ALL),
        (Failure(403, "RequestTimeTooSkewed"), Scope.ALL),
        (Failure(403, "AuthenticationFailed"), Scope.ALL),
        (Failure(400, "ExpiredToken"), Scope.ALL),
        (Failure(401), Scope.ALL),
        (Failure(404, "NoSuchBucket"), Scope.ALL),
        (Failure(409, "ContainerBeingDeleted"), Scope.ALL),
        (Failure(code="NoCredentials", kind=Denied), Scope.ALL),
        (Failure(403, "objectUnderActiveHold"), Scope.OBJECT),
        (Failure(403, "retentionPolicyNotMet"), Scope.OBJECT),
        (Failure(412, "LeaseIdMissing"), Scope.OBJECT),
        (Failure(409, "BlobImmutableDueToPolicy"), Scope.OBJECT),
        (Failure(403, "InvalidObjectState"), Scope.OBJECT),
        (Failure(503), Scope.OBJECT),
    ],
)
def test_whom_a_refusal_concerns(failure: Failure, scope: Scope) -> None:
    assert scope_of(failure) is scope


def test_a_refusal_of_a_listing_is_everybodys() -> None:
    assert scope_of(Failure(403, "AccessDenied"), "list", "a/") is Scope.ALL
    assert scope_of(Failure(403, "AccessDenied"), "put", "") is Scope.ALL


def test_a_protected_object_is_said_in_its_own_words() -> None:
    lease = Failure(412, "LeaseIdMissing")
    error = storage_error(lease, store="azure", url="az://c", operation="put", path="a.json")
    assert str(error) == 'az://c: the object is protected (412 LeaseIdMissing) when writing "a.json"'
    assert "whoever holds it has to end it" in error.advice
    archived = Failure(403, "InvalidObjectState")
    error = storage_error(archived, store="s3", url="s3://b", operation="read", path="a.mp4")
    assert str(error) == 's3://b: the object is archived (403 InvalidObjectState) when reading "a.mp4"'


@pytest.mark.parametrize("store", ["s3", "gcs", "azure", "local"])
@pytest.mark.parametrize("operation", ["list", "read", "put", "delete"])
def test_a_denied_request_names_the_right_it_needs(store: Any, operation: Any) -> None:
    error = storage_error(Failure(403), store=store, url="x://y", operation=operation, path="a\nb")
    assert RIGHTS[store, operation] in error.advice
    assert "access denied (403)" in str(error)
    assert "\n" not in str(error)


def test_the_message_reads_as_a_sentence() -> None:
    failure = Failure(403, "AccessDenied")
    error = storage_error(failure, store="s3", url="s3://fleet", operation="list", path="2026/")
    assert str(error) == 's3://fleet: access denied (403 AccessDenied) when listing "2026/"'
    assert error.advice == "the credentials need s3:ListBucket on the bucket"
    assert (error.url, error.path, error.status, error.code) == ("s3://fleet", "2026/", 403, "AccessDenied")


def test_a_throttled_request_says_how_long_to_wait() -> None:
    failure = s3_failure(s3_error(503, "SlowDown", **{"retry-after": "12"}))
    error = storage_error(failure, store="s3", url="s3://b", operation="put", path="k")
    assert isinstance(error, Throttled)
    assert error.retry_after == 12.0


def test_a_put_that_the_store_cannot_do_names_the_option_for_checksums() -> None:
    error = storage_error(Failure(501, "NotImplemented"), store="s3", url="s3://b", operation="put", path="k")
    assert "request_checksum_calculation: when_required" in error.advice


def test_a_bucket_whose_requester_pays_names_the_option() -> None:
    message = "Bucket is a requester pays bucket but no user project provided."
    body = {"error": {"code": 400, "message": message, "errors": [{"reason": "required"}]}}
    failure = gcs_failure(400, {}, json.dumps(body).encode())
    error = storage_error(failure, store="gcs", url="gs://b", operation="read", path="k")
    assert "set requester_pays" in error.advice
    assert error.scope is Scope.ALL


@pytest.mark.parametrize(("store", "code"), [("s3", "QuotaExceeded"), ("gcs", "quotaExceeded")])
def test_a_quota_that_is_used_up_is_no_missing_right(store: Any, code: str) -> None:
    error = storage_error(Failure(403, code), store=store, url="x://b", operation="put", path="k")
    assert not isinstance(error, Denied)
    assert "quota" in error.advice
    assert "credentials" not in error.advice


@pytest.mark.parametrize(
    ("status", "message", "code", "expected"),
    [
        (503, "", "TokenServer", Unavailable),
        (429, "", "TokenServer", Unavailable),
        (200, "Unexpected response from Microsoft Entra ID", "TokenServer", Unavailable),
        (401, f"AADSTS7000215: Invalid client secret {CANARY}", "WrongClientSecret", Denied),
        (400, "AADSTS700016: Application was not found", "UnknownClient", Denied),
        (400, "AADSTS90002: Tenant not found", "UnknownTenant", Denied),
        (400, "something else", "NoToken", Expired),
        (None, "DefaultAzureCredential failed to retrieve a token from the included credentials", "", Denied),
    ],
)
def test_why_azure_gave_no_token(
    status: int | None, message: str, code: str, expected: type[StorageError]
) -> None:
    from azure.core.exceptions import ClientAuthenticationError

    response: Any = None if status is None else SimpleNamespace(status_code=status, reason="", headers={})
    failure = azure_failure(ClientAuthenticationError(message=message, response=response))
    assert classify(failure) is expected
    assert failure.code == (code or "NoCredentials")
    error = storage_error(failure, store="azure", url="az://c", operation="put", path="a.json")
    assert error.advice
    assert CANARY not in f"{error} {error.advice}"
    if expected is Denied:
        assert error.scope is Scope.ALL


@pytest.mark.parametrize(("platform", "expected"), [(True, "TokenServer"), (False, "NoCredentials")])
def test_a_page_for_a_token_is_a_passing_fault_where_the_platform_gives_tokens(
    platform: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere anything may answer at the address of Azure's virtual machines."""
    from azure.core.exceptions import ClientAuthenticationError

    for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"):
        monkeypatch.delenv(name, raising=False)
    if platform:
        monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1/token")
    text = (
        "DefaultAzureCredential failed to retrieve a token from the included credentials.\nAttempted "
        'credentials:\n\tManagedIdentityCredential: Unexpected content type "text/html"'
    )
    failure = azure_failure(ClientAuthenticationError(message=text))
    assert failure.code == expected
    assert classify(failure) is (Unavailable if platform else Denied)


def test_a_page_of_azure_that_cannot_be_decoded_is_a_bad_answer() -> None:
    from azure.core.exceptions import DecodeError

    response: Any = SimpleNamespace(status_code=200, reason="", headers={})
    failure = azure_failure(DecodeError(message="<html>", response=response))
    assert (classify(failure), failure.code) == (Corrupt, "BadAnswer")
