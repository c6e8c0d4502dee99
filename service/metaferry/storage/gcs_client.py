"""What gcsfs gives: a file system for options, the address of uploads, and what its failures mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metaferry.errors import Expired, Unavailable
from metaferry.storage.translate import Failure


def file_system(options: Mapping[str, Any]) -> Any:
    """gcsfs's file system; looking for credentials may ask the metadata service. Raises anything."""
    # Not `gcsfs.GCSFileSystem`: the newer class asks for the bucket's type over gRPC first, which
    # took more than a minute a put where that was blocked.
    from gcsfs.core import GCSFileSystem

    given = {**options, "asynchronous": True, "skip_instance_cache": True, "use_listings_cache": False}
    return GCSFileSystem(**given)


def upload_base(fs: Any) -> str:
    """Where uploads go, with a `/` at its end."""
    return f"{fs._location}/upload/storage/v1/"


def auth_failure(error: Exception) -> Failure:
    """Of an error of google-auth, or gcsfs's word for it, while an access token was to be got."""
    from google.auth.exceptions import GoogleAuthError

    if not isinstance(error, GoogleAuthError):
        return Failure(401, "RefreshError")
    passing = bool(getattr(error, "retryable", False))
    return Failure(code=type(error).__name__, kind=Unavailable if passing else Expired)
