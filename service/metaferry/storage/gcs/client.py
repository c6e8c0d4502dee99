"""The gcsfs client of the GCS adapter, and failures to get an access token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from metaferry.errors import Expired, Unavailable
from metaferry.storage.codes.meaning import OAUTH
from metaferry.storage.errors import Failure
from metaferry.storage.http.redirects import BoundTo

#: What google-auth raises for an answer that is not one of a token server.
NOT_UNDERSTOOD: Final = (AttributeError, KeyError, TypeError, ValueError)


def file_system(options: Mapping[str, Any]) -> Any:
    """gcsfs's file system; looking for credentials may ask the metadata service. Raises anything."""
    return plain_file_system(
        {**options, "asynchronous": True, "skip_instance_cache": True, "use_listings_cache": False}
    )


def plain_file_system(options: Mapping[str, Any]) -> Any:
    """gcsfs's file system with these options and no others. Raises anything."""
    # Not `gcsfs.GCSFileSystem`, which is fsspec's too: the newer class first requests the bucket's type over
    # gRPC, which took more than a minute a put where gRPC was blocked.
    from gcsfs.core import GCSFileSystem

    return GCSFileSystem(**options)


def bound_to(fs: Any) -> BoundTo:
    """Where a redirect may lead its requests; the settings of its session may have credentials too."""
    plain = fs.session_kwargs.keys() <= {"connector", "auto_decompress", "trust_env", "proxy"}
    anonymous = fs.credentials.credentials is None and plain and not fs._use_client_cert
    return BoundTo.NOTHING if anonymous else BoundTo.HOST


def auth_failure(error: Exception) -> Failure:
    """The failure for an error of google-auth, or of gcsfs on its behalf, while getting an access token.

    A token server that is unreachable, or whose answer is not one of a token server, is a transient fault;
    google-auth parses a login page as if it were the answer, which gives TypeError and the like. A refusal
    has a code of RFC 6749, section 5.2.
    """
    from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError

    cause = error if isinstance(error, GoogleAuthError) else error.__cause__
    if isinstance(cause, RefreshError):
        answer = cause.args[1] if len(cause.args) > 1 else None
        code = answer.get("error") if isinstance(answer, Mapping) else None
        if isinstance(code, str) and code in OAUTH:
            return Failure(401, code)
        strange = isinstance(answer, Mapping) and "error" not in answer  # an answer without a token
        return _transient() if strange or cause.retryable else Failure(401, "RefreshError")
    if isinstance(cause, GoogleAuthError):
        transient = isinstance(cause, TransportError) or cause.retryable
        return _transient() if transient else Failure(code=type(cause).__name__, kind=Expired)
    return _transient() if isinstance(error, NOT_UNDERSTOOD) else Failure(401, "RefreshError")


def _transient() -> Failure:
    return Failure(code="TokenServer", kind=Unavailable)
