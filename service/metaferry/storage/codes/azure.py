"""What the error codes of Azure Blob Storage mean here.

Sources: https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes and
https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes. Most of what the service
answers with 409 never passes by itself; what does is named.
"""

from __future__ import annotations

from typing import Final

from metaferry.errors import (
    Conflict,
    Corrupt,
    Denied,
    NotFound,
    Protected,
    Scope,
    Throttled,
    Unavailable,
    Unsupported,
)
from metaferry.storage.codes.meaning import ARCHIVED, Meaning

_LEASED: Final = Meaning(
    Protected, advice="a blob lease protects this object: whoever holds it has to end it"
)
_IMMUTABLE: Final = Meaning(
    Protected, advice="an immutability policy or a legal hold protects the blob: it has to end first"
)
_SNAPSHOTS: Final = Meaning(
    Protected,
    what="the blob has snapshots",
    advice="delete its snapshots first",
)
_KEYS: Final = Meaning(
    Protected,
    what="the blob is encrypted with another key",
    advice="write it with the key or the encryption scope that it has, or delete it first",
)
_KIND: Final = Meaning(
    Unsupported,
    what="a blob of another kind is in its place",
    advice="documents are block blobs: delete the append or page blob that is there",
)

AZURE: Final[dict[str, Meaning]] = {
    # -- throttling
    "ServerBusy": Meaning(Throttled),
    # -- transient
    "OperationTimedOut": Meaning(Unavailable),
    "AccountBeingCreated": Meaning(Unavailable),
    "PendingCopyOperation": Meaning(Unavailable),
    # -- the content was damaged on its way
    "Md5Mismatch": Meaning(Corrupt),
    "Crc64Mismatch": Meaning(Corrupt),
    # -- credentials and rights
    "AuthenticationFailed": Meaning(Denied, advice="the account key or SAS is wrong or has expired"),
    "AuthorizationFailure": Meaning(Denied, Scope.EITHER),
    "AuthorizationPermissionMismatch": Meaning(Denied, Scope.EITHER),
    "InsufficientAccountPermissions": Meaning(Denied, Scope.EITHER),
    "UnauthorizedBlobOverwrite": Meaning(Denied, Scope.EITHER),
    "AuthorizationProtocolMismatch": Meaning(Denied),
    "AuthorizationResourceTypeMismatch": Meaning(Denied),
    "AuthorizationServiceMismatch": Meaning(Denied),
    "AuthorizationSourceIPMismatch": Meaning(Denied),
    "AccountIsDisabled": Meaning(Denied),
    "KeyBasedAuthenticationNotPermitted": Meaning(Denied),
    "NoAuthenticationInformation": Meaning(Denied),
    "PublicAccessNotPermitted": Meaning(Denied),
    # -- the object in place
    "ContainerNotFound": Meaning(NotFound),
    "ContainerBeingDeleted": Meaning(NotFound),
    "ContainerDisabled": Meaning(NotFound),
    "BlobNotFound": Meaning(NotFound),
    "ResourceNotFound": Meaning(NotFound),
    "ConditionNotMet": Meaning(Conflict),
    "TargetConditionNotMet": Meaning(Conflict),
    "BlobAlreadyExists": Meaning(Conflict),
    # -- one object
    "LeaseIdMissing": _LEASED,
    "LeaseIdMismatchWithBlobOperation": _LEASED,
    "LeaseLost": _LEASED,
    "BlobImmutableDueToPolicy": _IMMUTABLE,
    "BlobImmutableDueToLegalHold": _IMMUTABLE,
    "BlobArchived": ARCHIVED,
    "BlobBeingRehydrated": ARCHIVED._replace(
        what="the object is being restored", advice="run it again when it has been restored: hours, as a rule"
    ),
    "SnapshotsPresent": _SNAPSHOTS,
    "BlobUsesCustomerSpecifiedEncryption": _KEYS,
    "BlobDoesNotUseCustomerSpecifiedEncryption": _KEYS,
    "InvalidBlobType": _KIND,
    "ResourceTypeMismatch": _KIND,
    "PathConflict": Meaning(
        Unsupported, what="a folder is in its place", advice="move or delete the folder of that name"
    ),
}

#: Codes that speak of the container, not of one blob.
CONTAINER_CODES: Final = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"})
