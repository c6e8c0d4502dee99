"""What the error codes of Amazon S3, and of stores that speak its protocol, mean here.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, and for codes of compatible
stores MinIO, Ceph and Oracle's. AWS refuses to read an archived object, and never to replace a locked one:
versions are what Object Lock locks. MinIO and others without versions answer ObjectLocked.
"""

from __future__ import annotations

from typing import Final

from metaferry.errors import (
    Conflict,
    Corrupt,
    Denied,
    Expired,
    NotFound,
    Protected,
    Scope,
    Throttled,
    Unavailable,
    Unsupported,
)
from metaferry.storage.codes.meaning import ARCHIVED, Meaning

_REGION: Final = "the bucket is in another region: set client_kwargs.region_name"
_LOCKED: Final = Meaning(
    Protected, advice="a lock, a retention or a legal hold protects the object: whoever set it has to end it"
)
_FULL: Final = Meaning(
    Unsupported,
    Scope.ALL,
    what="the store takes no more data",
    advice="its quota or its disk is full: free some space, or have the quota raised",
)

S3: Final[dict[str, Meaning]] = {
    # -- throttling
    "SlowDown": Meaning(Throttled),
    "Throttling": Meaning(Throttled),
    "ThrottlingException": Meaning(Throttled),
    "RequestLimitExceeded": Meaning(Throttled),
    "BandwidthLimitExceeded": Meaning(Throttled),
    # -- transient
    "RequestTimeoutException": Meaning(Unavailable),
    "PriorRequestNotComplete": Meaning(Unavailable),
    "ConditionalRequestConflict": Meaning(Unavailable),
    "OperationAborted": Meaning(Unavailable),
    "ConcurrentObjectUpdate": Meaning(Unavailable),
    # -- the content was damaged on its way
    "BadDigest": Meaning(Corrupt),
    "IncompleteBody": Meaning(Corrupt),
    "XAmzContentSHA256Mismatch": Meaning(Corrupt),
    "XAmzContentChecksumMismatch": Meaning(Corrupt),
    # -- credentials and rights
    "ExpiredToken": Meaning(Expired),
    "ExpiredTokenException": Meaning(Expired),
    "TokenRefreshRequired": Meaning(Expired),
    "RequestExpired": Meaning(Expired),
    "RequestTimeTooSkewed": Meaning(
        Expired, advice="the clock of this machine is wrong: set it (NTP), the credentials may be fine"
    ),
    "AccessDenied": Meaning(Denied, Scope.EITHER),
    "AllAccessDisabled": Meaning(Denied),
    "AccountProblem": Meaning(Denied),
    "InvalidAccessKeyId": Meaning(
        Denied, advice="this access key does not exist at this endpoint: check key and endpoint_url"
    ),
    "InvalidToken": Meaning(Denied),
    "NotSignedUp": Meaning(Denied),
    "SignatureDoesNotMatch": Meaning(Denied, advice="the secret does not belong to the access key"),
    # -- the object in place
    "NoSuchBucket": Meaning(NotFound),
    "NoSuchKey": Meaning(NotFound),
    "NoSuchVersion": Meaning(NotFound),
    "PreconditionFailed": Meaning(Conflict),
    # -- one object
    "InvalidObjectState": ARCHIVED,
    "ObjectNotInActiveTierError": ARCHIVED,
    "ObjectLocked": _LOCKED,
    "KeyTooLongError": Meaning(Unsupported, advice="the store takes keys of up to 1,024 bytes"),
    # -- never possible
    "AuthorizationHeaderMalformed": Meaning(Unsupported, Scope.ALL, advice=_REGION),
    "PermanentRedirect": Meaning(Unsupported, Scope.ALL, advice=_REGION),
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
}
