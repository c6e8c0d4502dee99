"""The right that an operation needs, with the resource that it is needed on, as each cloud names them. Pure.

Sources: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html,
https://cloud.google.com/storage/docs/access-control/iam-permissions, and
https://learn.microsoft.com/azure/storage/blobs/authorize-access-azure-active-directory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Need = Literal["list", "read", "put", "overwrite", "delete", "tags", "encryption", "versioning", "lifecycle"]

_S3: Final[dict[Need, str]] = {
    "list": "s3:ListBucket",
    "read": "s3:GetObject",
    "put": "s3:PutObject",
    "overwrite": "s3:PutObject",
    "delete": "s3:DeleteObject",
    "tags": "s3:GetObjectTagging",
    "encryption": "s3:GetEncryptionConfiguration",
    "versioning": "s3:GetBucketVersioning",
    "lifecycle": "s3:GetLifecycleConfiguration",
}
_GCS: Final[dict[Need, str]] = {
    "list": "storage.objects.list",
    "read": "storage.objects.get",
    "put": "storage.objects.create",
    "overwrite": "storage.objects.create and storage.objects.delete",
    "delete": "storage.objects.delete",
    "tags": "storage.objects.get",
    "encryption": "storage.buckets.get",
    "versioning": "storage.buckets.get",
    "lifecycle": "storage.buckets.get",
}
_BLOBS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/"
_AZURE: Final[dict[Need, str]] = {
    "list": f"{_BLOBS}read (role Storage Blob Data Reader; `l` in a SAS)",
    "read": f"{_BLOBS}read (role Storage Blob Data Reader; `r` in a SAS)",
    "put": f"{_BLOBS}write (role Storage Blob Data Contributor; `cw` in a SAS)",
    "overwrite": f"{_BLOBS}write (role Storage Blob Data Contributor; `cw` in a SAS)",
    "delete": f"{_BLOBS}delete (role Storage Blob Data Contributor; `d` in a SAS)",
    "tags": f"{_BLOBS}tags/read (role Storage Blob Data Owner; `t` in a SAS)",
    "encryption": "Microsoft.Storage/storageAccounts/blobServices/containers/read (`r` and `srt=c` in a SAS)",
    "versioning": "Microsoft.Storage/storageAccounts/blobServices/read (`r` and `srt=s` in a SAS)",
    "lifecycle": "Microsoft.Storage/storageAccounts/managementPolicies/read",
}
_BUCKET_NEEDS: Final = frozenset({"list", "encryption", "versioning", "lifecycle"})


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """Where a store is: its kind (`s3`, `gcs`, `azure`, `local`, or another scheme), bucket and prefix."""

    store: str
    url: str
    bucket: str = ""
    prefix: str = ""

    def resource(self, key: str, *, bucket: bool = False) -> str:
        """What a policy calls the objects below `key`, or the bucket."""
        whole = f"{self.prefix}{key}"
        match self.store:
            case "s3":
                return f"arn:aws:s3:::{self.bucket}" + ("" if bucket else f"/{whole}*")
            case "gcs":
                name = f"projects/_/buckets/{self.bucket}"
                return name if bucket else f"{name}/objects/{whole}*"
            case "azure":
                return f"container {self.bucket}" + (f", blobs below {whole}" if whole and not bucket else "")
        return f"{self.url.rstrip('/')}/{key}" if key else self.url


def missing_right(place: StoreLocation, need: Need, key: str = "") -> str:
    """What to grant, as one sentence's half: `grant s3:PutObject on arn:aws:s3:::fleet/2026/.metaferry/*`."""
    names = {"s3": _S3, "gcs": _GCS, "azure": _AZURE}.get(place.store)
    resource = place.resource(key, bucket=need in _BUCKET_NEEDS)
    if names is not None:
        return f"grant {names[need]} on {resource}"
    verb = {"list": "read and enter", "read": "read", "delete": "write to"}.get(need, "write to")
    return f"let the user of this process {verb} {resource}"
